"""Networks that listen: who speaks when."""
