"""From landmarks to mesh codes: batched Levenberg-Marquardt with derivatives written out."""

from __future__ import annotations

from model.fitting.config import FitConfig
from model.fitting.fit import FitResult, fit_landmarks
from model.fitting.landmark_model import LandmarkModel, landmark_model

__all__ = ["FitConfig", "FitResult", "LandmarkModel", "fit_landmarks", "landmark_model"]
