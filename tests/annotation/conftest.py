"""Fixtures of the labelling loop's tests."""

from __future__ import annotations

from tests.annotation.server_fixture import annotator, label_server, owner

__all__ = ["annotator", "label_server", "owner"]
