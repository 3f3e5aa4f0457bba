"""The subjects stage: over all clips, who is the same person, the one shape of each, and the camera of each source."""
