"""Keep native libraries off the terminal: their start-up notes would break progress bars and alarm users."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 of the process to a scratch file inside the block; if it raises, show what was written.

    Python's own ``sys.stderr`` is affected too while the block runs, so keep blocks short.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # The process has no stderr: nothing to keep quiet.
        yield
        return
    with tempfile.TemporaryFile() as scratch:
        os.dup2(scratch.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            os.dup2(saved, 2)
            scratch.seek(0)
            os.write(2, scratch.read()[-8000:])
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
