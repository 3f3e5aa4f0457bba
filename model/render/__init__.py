"""People drawn frame by frame: as their Gaussian avatar, or as the plain mesh where there is none."""
