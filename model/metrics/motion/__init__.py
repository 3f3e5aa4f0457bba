"""What motion is judged by: see :mod:`model.metrics.motion.registry`; each family of measures has a file of its own."""

from model.metrics.motion.face import FaceShape, VertexSet
from model.metrics.motion.figures import Figure, NoFigure
from model.metrics.motion.registry import REGISTRY, Metric
from model.metrics.motion.sample import GROUPS, ROLES, Role, Sample, Truth

__all__ = [
    "GROUPS",
    "REGISTRY",
    "ROLES",
    "FaceShape",
    "Figure",
    "Metric",
    "NoFigure",
    "Role",
    "Sample",
    "Truth",
    "VertexSet",
]
