"""What pictures are judged by: see :mod:`model.metrics.image`, and the floors that any method has to beat."""
