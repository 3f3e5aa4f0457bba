"""What an avatar has to beat: the mean picture, the nearest training frame, the tracked mesh with vertex colours.

All three see the training frames only, and know of a held-out frame what a method knows: its codes. They take frames
one at a time, so their memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor

from model.raster.fragments import Fragments
from model.raster.interpolate import interpolate

SMOOTH = 0.05
"""Weight of the difference between neighbouring vertices, in pixels: what colours those that no pixel shows."""


def mean_picture(pictures: Iterable[Tensor]) -> Tensor:
    """Mean (H, W, 3) of training pictures (H, W, 3); the floor shows it for every held-out frame.

    Raises:
        ValueError: there is no picture.
    """
    total, count = None, 0
    for picture in pictures:
        total = picture.double() if total is None else total + picture.double()
        count += 1
    if total is None:
        raise ValueError("The mean of no picture")
    return (total / count).float()


def nearest_frames(train: Tensor, held_out: Tensor) -> Tensor:
    """For each held-out frame (M,) int64, the training frame whose features are nearest; the floor shows its picture.

    Args:
        train: (T, ...) features of training frames, such as projected landmarks (T, 478, 2) in pixels, which measure
            pose and expression in the unit that a picture is judged in.
        held_out: (M, ...) likewise.
    """
    if len(train) == 0 or train.shape[1:] != held_out.shape[1:]:
        raise ValueError(f"Expected features of one shape, got {tuple(train.shape)} and {tuple(held_out.shape)}")
    flat = train.flatten(1).double()
    rows = [torch.cdist(part.flatten(1).double(), flat).argmin(1) for part in held_out.split(256)]
    return torch.cat(rows) if rows else torch.zeros(0, dtype=torch.int64)


class VertexColours:
    """Colours of a mesh's vertices that explain pictures of it best in the sense of least squares.

    Each pixel p that shows a face says sum_i b_i c_i = colour of p, with the pixel's barycentrics b. Summed over all
    frames that is a sparse symmetric system of V unknowns; neighbours are tied to each other weakly, so vertices that
    are never seen take the colours around them, and a colour of the mean is the last resort.
    """

    def __init__(self, faces: Tensor, num_vertices: int) -> None:
        self._faces = faces.cpu().numpy()
        self._normal = sparse.csr_matrix((num_vertices, num_vertices))
        self._right = np.zeros((num_vertices, 3))

    def add(self, fragments: Fragments, pictures: Tensor, mask: Tensor | None = None) -> None:
        """Take in frames.

        Args:
            fragments: B rasterised poses of the mesh.
            pictures: (B, H, W, 3) in [0, 1].
            mask: (B, H, W) bool, pixels that show the subject; None for all that show the mesh.
        """
        shown = fragments.mask if mask is None else fragments.mask & mask
        face = fragments.face_id[shown].cpu().numpy()
        bary = fragments.bary[shown].detach().cpu().double().numpy()
        colour = pictures[shown].cpu().double().numpy()
        corners = self._faces[face]  # (P, 3)
        for i in range(3):
            for channel in range(3):
                weight = bary[:, i] * colour[:, channel]
                self._right[:, channel] += np.bincount(corners[:, i], weight, minlength=len(self._right))
        rows, columns = np.repeat(corners, 3, axis=1).ravel(), np.tile(corners, (1, 3)).ravel()
        products = (bary[:, :, None] * bary[:, None, :]).ravel()
        shape = self._normal.shape
        self._normal = self._normal + sparse.coo_matrix((products, (rows, columns)), shape=shape).tocsr()

    def solve(self, smooth: float = SMOOTH) -> Tensor:
        """Colours (V, 3) float32 in [0, 1].

        Raises:
            ValueError: no frame showed the mesh.
        """
        count = len(self._right)
        if self._normal.nnz == 0:
            raise ValueError("No pixel of any frame shows the mesh")
        ends = np.concatenate([self._faces[:, [0, 1]], self._faces[:, [1, 2]], self._faces[:, [2, 0]]])
        ends = np.unique(np.sort(ends, axis=1), axis=0)
        links = sparse.coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
        links = links + links.T
        laplacian = sparse.diags(np.asarray(links.sum(1)).ravel()) - links
        ridge = 1e-6
        mean = self._right.sum(0) / self._normal.sum()
        system = (self._normal + smooth * laplacian + ridge * sparse.identity(count)).tocsc()
        colours = spsolve(system, self._right + ridge * mean)
        return torch.from_numpy(colours.clip(0, 1).astype(np.float32))


def draw_vertex_colours(fragments: Fragments, faces: Tensor, colours: Tensor, background: Tensor) -> Tensor:
    """Pictures (B, H, W, 3) of the mesh with colours (V, 3) before a background, (3,) or (B, H, W, 3)."""
    drawn = interpolate(fragments, faces, colours[None])
    return torch.where(fragments.mask[..., None], drawn, background.to(drawn).expand_as(drawn))
