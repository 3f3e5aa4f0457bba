"""The flame stage: landmarks of the faces stage become codes of a head model."""
