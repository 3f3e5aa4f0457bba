"""From a video file as given to clips: spans of 3 to 30 s in which the same one or two faces stay."""
