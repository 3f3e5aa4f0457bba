"""numba kernels that are cached on disk where a folder can be written, and the threads that run them.

numba's own ``parallel=True`` is not used: its OpenMP layer aborts in a forked process and its fallback layer aborts
when two Python threads meet in it. Kernels release the GIL instead and a small pool of Python threads runs them over
bands of work that do not touch each other, so results do not depend on the number of threads.

numba decides whether a cached kernel is stale by the source file that defines it, so kernels that call each other
belong in one file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


FAST = {"contract", "nsz", "reassoc"}
"""For ``fastmath``: fused multiply-adds and reordered sums, but no assumption that values are finite."""


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile ``function`` with numba on first use, cached on disk if possible; ``options`` as for ``numba.njit``.

    The cache lies beside the source, or in the user's cache folder, or where NUMBA_CACHE_DIR says. Where none of
    them can be written (a read-only container), numba refuses at this point and the kernel is compiled in memory.
    """
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:
        return numba.njit(function, **options)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for :func:`run_jobs`: no Python objects, GIL released."""
    return compiled(function, nogil=True, error_model="numpy")


def fast_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like :func:`kernel`, with sums in any order."""
    return compiled(function, nogil=True, error_model="numpy", fastmath=FAST)


def default_threads() -> int:
    """Threads used where the caller names none: torch's setting, which follows OMP_NUM_THREADS."""
    import torch

    return max(1, torch.get_num_threads())


def run_jobs(job: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], threads: int | None = None) -> None:
    """Call ``job(*arguments[i])`` for every i, in up to ``threads`` threads; the first exception is raised again."""
    count = min(default_threads() if threads is None else max(1, threads), len(arguments))
    if count <= 1:
        for values in arguments:
            job(*values)
        return
    # The calling thread works too, so a pool of count - 1 is enough. Whoever is free takes the next job: a thread that
    # has to share its processor with others holds nobody up.
    pool = _pool(count - 1)
    left = iter(arguments)
    futures = [pool.submit(_drain, job, left) for _ in range(1, count)]
    try:
        _drain(job, left)
    finally:
        for future in futures:
            future.exception()
    for future in futures:
        future.result()


def _drain(job: Callable[..., Any], left: Iterator[tuple[Any, ...]]) -> None:
    for values in left:  # one iterator for all threads: each step of it is atomic
        job(*values)


def _pool(workers: int) -> ThreadPoolExecutor:
    with _lock:
        if workers not in _pools:
            _pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="raster")
        return _pools[workers]


def _forget_pools() -> None:
    """A forked child has the pool objects but not their threads."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)
