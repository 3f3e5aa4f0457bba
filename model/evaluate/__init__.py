"""Honest evaluation of motion: floors, controls, intervals over dyads, and the relation-shuffle test."""

from model.evaluate.harness import EvaluateConfig, evaluate
from model.evaluate.intervals import Bootstrap, Estimate
from model.evaluate.predictors import Predictor
from model.evaluate.report import Report

__all__ = ["Bootstrap", "Estimate", "EvaluateConfig", "Predictor", "Report", "evaluate"]
