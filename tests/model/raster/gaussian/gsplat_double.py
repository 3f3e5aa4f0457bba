"""What the backend uses of gsplat 1.5.3, in plain torch and with its signatures; its own kernels need CUDA.

Shapes and meanings are those of gsplat's documentation. The projection is the reference's, the tiles and the blending
are loops over tiles and pixels.
"""

from __future__ import annotations

import math

import torch

from model.camera import Camera
from model.raster.gaussian import reference


def fully_fused_projection(
    means: torch.Tensor, covars: None, quats: torch.Tensor, scales: torch.Tensor, viewmats: torch.Tensor,
    Ks: torch.Tensor, width: int, height: int, eps2d: float = 0.3, near_plane: float = 0.01, far_plane: float = 1e10,
    radius_clip: float = 0.0, packed: bool = False, sparse_grad: bool = False, calc_compensations: bool = False,
    camera_model: str = "pinhole", opacities: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, ...]:  # fmt: skip
    batch, count = means.shape[:2]
    assert covars is None and quats.shape == (batch, count, 4) and scales.shape == (batch, count, 3)
    assert viewmats.shape == (batch, 1, 4, 4) and Ks.shape == (batch, 1, 3, 3)
    assert opacities is not None and opacities.shape == (batch, count)
    assert (eps2d, near_plane, far_plane) == (0.3, 0.01, 1e10) and not packed
    k = Ks[0, 0].tolist()
    camera = Camera(k[0][0], k[1][1], k[0][2], k[1][2], width, height)
    drawn = torch.ones(batch, count, dtype=torch.bool)
    means2d, conics, depths, box = reference.projected(
        means, quats, scales, opacities, camera, viewmats[:, 0], None, drawn
    )
    # gsplat leaves what it does not draw as it was allocated.
    means2d, conics = (torch.where(box > 0, means2d, math.nan), torch.where(box[..., :1] > 0, conics, math.nan))
    return box.to(torch.int32)[:, None], means2d[:, None], depths[:, None], conics[:, None], None


def isect_tiles(
    means2d: torch.Tensor, radii: torch.Tensor, depths: torch.Tensor, tile_size: int, tile_width: int,
    tile_height: int, sort: bool = True, segmented: bool = False, packed: bool = False, n_images: int | None = None,
    image_ids: torch.Tensor | None = None, gaussian_ids: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    means2d, depths = means2d.detach(), depths.detach()
    images, count = depths.shape
    assert means2d.shape == (images, count, 2) and radii.shape == (images, count, 2) and radii.dtype == torch.int32
    keys, ids = [], []
    for image in range(images):
        for i in range(count):
            rx, ry = radii[image, i].tolist()
            if rx <= 0 or ry <= 0:
                continue
            x, y = means2d[image, i].tolist()
            x0, x1 = max(0, math.floor((x - rx) / tile_size)), min(tile_width, math.ceil((x + rx) / tile_size))
            y0, y1 = max(0, math.floor((y - ry) / tile_size)), min(tile_height, math.ceil((y + ry) / tile_size))
            for ty in range(y0, y1):
                for tx in range(x0, x1):
                    keys.append((image * tile_height * tile_width + ty * tile_width + tx, float(depths[image, i])))
                    ids.append(image * count + i)
    order = sorted(range(len(keys)), key=lambda j: keys[j])
    tiles = torch.tensor([keys[j][0] for j in order], dtype=torch.int64)
    return torch.zeros(images, count), tiles, torch.tensor([ids[j] for j in order], dtype=torch.int32)


def isect_offset_encode(isect_ids: torch.Tensor, n_images: int, tile_width: int, tile_height: int) -> torch.Tensor:
    tiles = torch.arange(n_images * tile_height * tile_width)
    return torch.searchsorted(isect_ids, tiles).int().view(n_images, tile_height, tile_width)


def rasterize_to_pixels(
    means2d: torch.Tensor, conics: torch.Tensor, colors: torch.Tensor, opacities: torch.Tensor, image_width: int,
    image_height: int, tile_size: int, isect_offsets: torch.Tensor, flatten_ids: torch.Tensor,
    backgrounds: torch.Tensor | None = None, masks: torch.Tensor | None = None, packed: bool = False,
    absgrad: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    images, count = opacities.shape
    assert means2d.shape == (images, count, 2) and conics.shape == (images, count, 3)
    assert colors.shape == (images, count, 4) and backgrounds is None
    flat = [t.reshape(images * count, -1) for t in (means2d, conics, opacities, colors)]
    ends = torch.cat([isect_offsets.flatten(), torch.tensor([len(flatten_ids)])])
    across = isect_offsets.shape[2]
    empty = torch.zeros(4), torch.ones(())
    pixels = []
    for image in range(images):
        for row in range(image_height):
            for column in range(image_width):
                tile = image * isect_offsets[0].numel() + row // tile_size * across + column // tile_size
                total, left = empty
                for i in flatten_ids[ends[tile] : ends[tile + 1]].tolist():
                    mean, (a, b, c), opacity, colour = (t[i] for t in flat)
                    dx, dy = mean[0] - (column + 0.5), mean[1] - (row + 0.5)
                    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                    alpha = (opacity[0] * torch.exp(-sigma)).clamp_max(0.999)
                    if sigma.item() < 0 or alpha.item() < 1 / 255:
                        continue
                    if (left * (1 - alpha)).item() <= 1e-4:
                        break
                    total, left = total + left * alpha * colour, left * (1 - alpha)
                pixels.append(torch.cat([total, 1 - left[None]]))
    images_of = torch.stack(pixels).view(images, image_height, image_width, 5)
    return images_of[..., :4], images_of[..., 4:]
