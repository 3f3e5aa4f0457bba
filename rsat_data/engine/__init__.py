"""Engines run stages over units of work and know nothing of their meaning."""
