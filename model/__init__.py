"""The maths on tensors: heads, rasterisers, fitting. Nothing here knows of the files of a dataset."""
