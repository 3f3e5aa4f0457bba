"""Synthetic conversations whose truth is known."""
