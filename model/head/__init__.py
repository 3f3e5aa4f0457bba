"""Head models with FLAME's interface: load one, pose it, ask it for landmarks and vertex groups."""

from model.head.landmarks import NUM_LANDMARKS, LandmarkEmbedding
from model.head.load import JOINT_NAMES, HeadModel, load_head

__all__ = ["JOINT_NAMES", "NUM_LANDMARKS", "HeadModel", "LandmarkEmbedding", "load_head"]
