"""``rsat-data render``: rows, runs and files of codes as videos of talking people."""
