"""One picture of what a build makes of a conversation: the video, both heads with their meshes, speech and jaw in time.

    python examples/overview_picture.py my_videos my_dataset overview.png

Shows the first clip with two people. Needs matplotlib, which comes with mediapipe.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq
import torch

import rsat_data
from model.camera import Camera
from model.head import load_head
from pipelines.flame.overlay import overlay
from pipelines.ingest.media import iter_frames

COLOURS = {"A": "#2f6db3", "B": "#c8662b"}


def mesh_over_crop(row: rsat_data.reader.Row, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The head crop of a frame, and the same with the posed mesh drawn over it; (512, 512, 3) uint8 each."""
    head = load_head()
    parts = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
    codes = {name: torch.tensor(row[name][frame : frame + 1]) for name in parts}
    vertices, _ = head.pose(shape=torch.tensor(row["shape"]), **codes)
    crop = row.frames([frame])[0]
    return crop, overlay(crop, vertices[0], head.faces, Camera(**row["camera"]))


def main(videos: Path, dataset: Path, target: Path) -> None:
    """Draw the picture."""
    rows = rsat_data.load(dataset, split=None)
    first = next(row for row in rows if row["partner_row_id"] is not None and row["person"] == "A")
    pair = [first, rows.by_id(first["partner_row_id"])]
    sources = {
        source["source_id"]: source["name"] for source in pq.read_table(dataset / "meta/sources.parquet").to_pylist()
    }
    # The frame in which the person who talks has the mouth open widest.
    jaws = np.stack([row["jaw"][:, 0] * np.asarray(row["speaking"]) for row in pair])
    frame = int(jaws.max(axis=0).argmax())
    start_s = first["start_s"] + frame / first["fps"]
    whole = next(iter(iter_frames(videos / sources[first["source_id"]], start_s, 1)))

    figure = plt.figure(figsize=(13.2, 6.6), facecolor="white")
    grid = figure.add_gridspec(
        3, 4, width_ratios=(1.0, 1.0, 0.62, 0.62), height_ratios=(1, 1, 0.62), wspace=0.04, hspace=0.06
    )
    axis = figure.add_subplot(grid[:2, :2])
    axis.imshow(whole)
    axis.set_title("one video", loc="left", fontsize=11)
    axis.axis("off")
    for line, row in enumerate(pair):
        for column, picture in enumerate(mesh_over_crop(row, frame)):
            axis = figure.add_subplot(grid[line, 2 + column])
            axis.imshow(picture)
            axis.axis("off")
            if line == 0:
                axis.set_title(("head crop", "tracked mesh")[column], loc="left", fontsize=11)
            if column == 0:
                axis.text(14, 60, row["person"], color=COLOURS[row["person"]], fontsize=16, weight="bold")
    axis = figure.add_subplot(grid[2, :])
    seconds = np.arange(first["num_frames"]) / first["fps"]
    for line, row in enumerate(pair):
        colour, base = COLOURS[row["person"]], -line
        axis.fill_between(
            seconds, base - 0.1, base + 0.75, where=np.asarray(row["speaking"]), color=colour, alpha=0.18, lw=0
        )
        axis.plot(seconds, base + 1.8 * np.clip(row["jaw"][:, 0], 0, 0.4), color=colour, lw=1.4)
        text = row["text"] if len(row["text"]) <= 110 else row["text"][:107] + "..."
        axis.text(0.02, base + 0.56, f"{row['person']}: {text}", fontsize=10, color=colour)
    axis.axvline(frame / first["fps"], color="grey", lw=0.8)
    senior = {"self": "A", "partner": "B"}.get(first["senior"], first["senior"])
    relation = f"{first['kinship']}, {first['status']}, senior: {senior}"
    axis.set_title(f"speech (shaded) and jaw opening; relation: {relation}", loc="left", fontsize=11)
    axis.set_xlim(0, seconds[-1])
    axis.set_ylim(-1.2, 0.95)
    axis.set_yticks([])
    axis.set_xlabel("seconds")
    for side in ("left", "right", "top"):
        axis.spines[side].set_visible(False)
    figure.savefig(target, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
