"""From a clip to each person's landmarks, head crop and matte."""
