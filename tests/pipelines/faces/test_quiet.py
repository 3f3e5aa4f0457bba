from __future__ import annotations

import os

import pytest

from pipelines.faces.quiet import quiet_stderr


def test_native_noise_is_swallowed(capfd):
    os.write(2, b"before ")
    with quiet_stderr():
        os.write(2, b"noise ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_what_was_said_before_a_failure_is_shown(capfd):
    with pytest.raises(RuntimeError), quiet_stderr():
        os.write(2, b"the reason")
        raise RuntimeError
    assert "the reason" in capfd.readouterr().err
