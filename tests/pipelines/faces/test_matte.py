from __future__ import annotations

import numpy as np

from pipelines.faces.matte import enlarge


def test_edges_stay_where_they_are_and_become_soft():
    mask = np.zeros((256, 256), np.float32)
    mask[:, 128:] = 1.0
    matte = enlarge(mask, 512)
    assert matte.shape == (512, 512) and matte.dtype == np.uint8
    row = matte[256].astype(int)
    assert (np.diff(row) >= 0).all() and row[:248].max() == 0 and row[264:].min() == 255
    assert abs(np.interp(127.5, row[248:264], np.arange(248, 264)) - 255.5) < 0.3
    assert np.diff(row).max() < 100


def test_a_full_and_an_empty_mask_stay_what_they_are():
    assert enlarge(np.ones((256, 256), np.float32), 512).min() == 255
    assert enlarge(np.zeros((256, 256), np.float32), 512).max() == 0
