"""Mesh rasteriser on the CPU: ``python -m benchmarks.raster_mesh [--rival-repeats N]``.

A head of 10,240 faces (the open head), or with --sphere a sphere of the 10,082 faces of pytorch3d's figure, fills most
of a 256x256 picture. Forward is rasterising and interpolating three colours; backward is the gradient to vertices and
colours. The rival in the same run is the plain torch backend; pytorch3d does not install here, so its figure is the
published one for the same job (10,082 faces, 256x256, K = 1, on a 2-core machine).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.machine import best_of, copy_bandwidth, describe_machine, table
from model.camera import Camera
from model.head import load_head
from model.raster import Backend, interpolate, rasterize

SIZE = 256
PYTORCH3D_FORWARD_S, PYTORCH3D_BACKWARD_S = 2.0, 0.8
BYTES_PER_PIXEL = 4 + 12 + 4
"""face id, three barycentrics, depth."""


def sphere(rings: int = 71) -> tuple[torch.Tensor, torch.Tensor]:
    """2 rings^2 = 10,082 faces."""
    polar, azimuth = np.linspace(0, np.pi, rings + 1)[:, None], np.linspace(0, 2 * np.pi, rings + 1)[None]
    points = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.sin(azimuth)], axis=-1
    )
    corner = (np.arange(rings)[:, None] * (rings + 1) + np.arange(rings)).reshape(-1)
    quad = np.stack([corner, corner + 1, corner + rings + 2, corner, corner + rings + 2, corner + rings + 1], axis=-1)
    vertices = 0.115 * points.reshape(1, -1, 3) + [0, 0, 0.7]
    return torch.from_numpy(vertices).float(), torch.from_numpy(quad.reshape(-1, 3))


def head_mesh() -> tuple[torch.Tensor, torch.Tensor]:
    """The open head, looking at the camera."""
    head = load_head()
    return head.v_template[None] + torch.tensor([0.0, 0.03, 0.7]), head.faces


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sphere", action="store_true", help="10,082 faces of a sphere instead of the open head")
    parser.add_argument("--repeats", type=int, default=50, help="each of our figures is the best of so many")
    parser.add_argument(
        "--rival-repeats", type=int, default=3, help="each of the rival's figures is the best of so many"
    )
    arguments = parser.parse_args()
    vertices, faces = sphere() if arguments.sphere else head_mesh()
    camera = Camera(560.0, 560.0, SIZE / 2, SIZE / 2, SIZE, SIZE)
    colours = torch.rand(1, vertices.shape[1], 3)
    weights = torch.rand(1, SIZE, SIZE, 3)

    def forward(backend: Backend, threads: int | None) -> torch.Tensor:
        return interpolate(rasterize(vertices, faces, camera, backend, threads=threads), faces, colours)

    def both(backend: Backend, threads: int | None) -> None:
        leaf, paint = vertices.clone().requires_grad_(), colours.clone().requires_grad_()
        image = interpolate(rasterize(leaf, faces, camera, backend, threads=threads), faces, paint)
        (image * weights).sum().backward()

    covered = float(rasterize(vertices, faces, camera).mask.float().mean())
    cores = torch.get_num_threads()
    timed: list[tuple[str, float, float, float]] = []
    for threads in sorted({1, cores}):
        timed.append(
            (
                f"ours (numba), {threads} thread{'s' * (threads > 1)}",
                best_of(lambda n=threads: rasterize(vertices, faces, camera, "numba", threads=n), arguments.repeats),  # type: ignore[misc]
                best_of(lambda n=threads: forward("numba", n), arguments.repeats),  # type: ignore[misc]
                best_of(lambda n=threads: both("numba", n), arguments.repeats),  # type: ignore[misc]
            )
        )
    rival = (
        f"plain torch, {cores} threads",
        best_of(lambda: rasterize(vertices, faces, camera, "torch"), arguments.rival_repeats),
        best_of(lambda: forward("torch", None), arguments.rival_repeats),
        best_of(lambda: both("torch", None), arguments.rival_repeats),
    )
    published = PYTORCH3D_FORWARD_S + PYTORCH3D_BACKWARD_S
    rows = [["", "rasterise ms", "+ interpolate ms", "+ backward ms", "rasterise / torch", "rasterise / pytorch3d"]]
    for name, alone, mixed, full in [*timed, rival]:
        rows.append(
            [
                name,
                f"{1e3 * alone:.2f}",
                f"{1e3 * mixed:.2f}",
                f"{1e3 * full:.2f}",
                f"{rival[1] / alone:.0f} x",
                f"{PYTORCH3D_FORWARD_S / alone:.0f} x",
            ]
        )
    rows.append(["pytorch3d, published", f"{1e3 * PYTORCH3D_FORWARD_S:.0f}", "", f"{1e3 * published:.0f}", "", "1 x"])
    print(describe_machine())
    print(f"{faces.shape[0]} faces, {SIZE}x{SIZE}, {covered:.0%} of the pixels covered\n")
    print(table(rows))
    bandwidth = copy_bandwidth()
    least = SIZE * SIZE * BYTES_PER_PIXEL + vertices.numel() * 4 + faces.numel() * 8
    fastest = min(row[1] for row in timed)
    memory_ms = 1e3 * least / bandwidth
    print(
        f"\nlimit: the mesh read and the result written once are {least / 1e6:.1f} MB; at {bandwidth / 1e9:.1f} GB/s "
        f"of one core that takes {memory_ms:.2f} ms.\nOurs needs {fastest * bandwidth / least:.0f} times as "
        f"long: it is bound by arithmetic, {1e9 * fastest / faces.shape[0]:.0f} ns a face, not by memory."
    )


if __name__ == "__main__":
    main()
