"""Avatars of a published dataset: fitting them to its subjects, keeping them true to its rows, drawing with them."""
