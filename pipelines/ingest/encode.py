"""Writing video files: see `rsat_data.mp4`, which what does not know of pipelines uses as well."""

from __future__ import annotations

from rsat_data.mp4 import VideoWriter, write_video

__all__ = ["VideoWriter", "write_video"]
