"""The speech stage: what is said, when, and by which of the faces."""
