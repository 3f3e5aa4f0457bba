"""Training the reference model: windows of conversations, losses, the loop, checkpoints, stages."""
