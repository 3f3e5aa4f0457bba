"""Head models with FLAME's interface: load one, pose it, ask it for landmarks and vertex groups."""

from model.head.landmarks import NUM_LANDMARKS, LandmarkEmbedding
from model.head.load import JOINT_NAMES, HeadModel, load_head
from model.head.same import require_same_head
from model.head.store import HeadEntry, head_path, list_heads

__all__ = [
    "JOINT_NAMES",
    "NUM_LANDMARKS",
    "HeadEntry",
    "HeadModel",
    "LandmarkEmbedding",
    "head_path",
    "list_heads",
    "load_head",
    "require_same_head",
]
