"""Measurements behind the figures in docs/benchmarks.md: ``python -m benchmarks.<name>`` prints each."""
