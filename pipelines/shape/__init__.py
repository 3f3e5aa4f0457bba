"""The shape stage: what one clip says about who its people are: head shape, camera, face and voice."""
