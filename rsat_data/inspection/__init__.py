"""One clip in time: what was heard, who spoke, what was said, how the jaws moved, who held the floor."""
