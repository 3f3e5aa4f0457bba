"""Assemble: one clip's artefacts become rows of the format; and the rule that divides rows into splits."""
