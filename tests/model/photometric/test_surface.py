"""Which part of a head is compared, and where its texels and samples lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.gpu_scene import made_skin
from model.head.load import HeadModel
from model.photometric import view
from model.photometric.surface import Surface, make_surface


def test_texels_are_numbered_as_the_docstring_says(surface: Surface) -> None:
    for face in (0, 100, len(surface.faces) - 1):
        r, start = int(surface.resolution[face]), int(surface.offset[face])
        for i in range(r + 1):
            for j in range(r + 1 - i):
                texel = start + i * (2 * r + 3 - i) // 2 + j
                assert surface.texel_face[texel] == face
                np.testing.assert_allclose(surface.texel_bary[texel], [i / r, j / r, (r - i - j) / r], atol=1e-6)


def test_surface_holds_face_and_front_of_the_eyes_only(surface: Surface, head: HeadModel) -> None:
    groups = {name: set(ids.tolist()) for name, ids in head.groups.items()}
    places = {tuple(place) for place in surface.head.v_template.numpy().round(6).tolist()}
    whole = head.v_template.numpy().round(6).tolist()
    inside = {v for v, place in enumerate(whole) if tuple(place) in places}
    assert len(groups["face"] - inside) < 0.01 * len(groups["face"])  # single points that no triangle of the face has
    assert not inside & (groups["teeth"] | groups["tongue"])
    assert 0 < (~surface.skin).sum() < 280  # of 280 triangles of the eyeballs
    assert len(surface.samples) > 1450 and len(np.unique(surface.samples)) == len(surface.samples)
    assert surface.layout is not None and surface.layout[1].shape == surface.faces.shape


def test_samples_follow_the_mesh(surface: Surface) -> None:
    """The affine form that the kernel uses gives the points of the posed mesh."""
    rng = np.random.default_rng(0)
    e = surface.head.num_expression
    codes = np.zeros((1, e + 15))
    codes[0, :e] = rng.uniform(0, 0.3, e)
    codes[0, -1] = 0.7
    vertices = surface.pose(np.zeros(surface.head.num_shape), codes, surface.head.J_template[0].numpy())
    points = np.einsum("kmx,km->kx", vertices[0, surface.sample_corners], surface.sample_bary)
    model = surface.points.with_shape(np.zeros(surface.head.num_shape))
    rest = model.root.rest.reshape(-1, 3) + model.root.linear @ codes[0, :e]
    for part in (model.jaw, model.eye):
        rows = np.flatnonzero(part.index >= 0)
        rest[rows] += (part.rest.reshape(-1, 3) + part.linear @ codes[0, :e])[part.index[rows]]
    np.testing.assert_allclose(rest + codes[0, -3:], points, atol=1e-5)


def test_head_without_named_parts_takes_what_lies_near_landmarks(head: HeadModel) -> None:
    plain = make_surface(replace(head, groups={}, uv=None, uv_faces=None), 600, 0.006)
    assert plain.layout is None and plain.skin.all() and len(plain.faces) > 1500
    skin = made_skin(plain)
    assert view.texture_image(plain, skin, 64).shape == (0, 0, 3)


def test_texture_in_the_heads_layout_shows_the_texels(surface: Surface) -> None:
    skin = made_skin(surface)
    image = view.texture_image(surface, skin, 512)
    assert surface.layout is not None
    uv, uv_faces = surface.layout
    middle = uv[uv_faces].mean(axis=1)
    x, y = np.minimum((middle * 512).astype(int), 511).T
    # The middle of a triangle has about the mean colour of its texels.
    means = np.stack([np.bincount(surface.texel_face, skin.albedo[:, c]) for c in range(3)], 1)
    means = np.divide(means, np.bincount(surface.texel_face)[:, None])
    big = surface.skin & (surface.resolution >= 2)
    assert np.abs(image[y, x] / 255 - means)[big].mean() < 0.03
