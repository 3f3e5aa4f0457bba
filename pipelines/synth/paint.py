"""The paint: colours of skin, lips, brows, beard, hair, eyes, teeth and tongue at every texel of a head."""

from __future__ import annotations

import numpy as np

from pipelines.synth import kernels
from pipelines.synth.layout import Layout, smoothstep
from pipelines.synth.noise import fractal_noise, spots, value_noise
from pipelines.synth.texels import TexelGrid
from pipelines.synth.traits import Traits

IRIS_ANGLE = 0.455
"""Half angle of the iris from the eyeball's centre, radians: 5.9 mm on a ball of 13 mm."""
PUPIL_ANGLE = 0.175

#: The hairline in profile: height over the eyes (y, metres, negative is up) -> how far back (z) hair begins.
HAIRLINE_Y = np.array([-0.090, -0.074, -0.062, -0.046, -0.026, -0.004, 0.018, 0.034, 0.050, 0.068, 0.085])
HAIRLINE_Z = np.array([-0.075, -0.045, -0.006, 0.024, 0.034, 0.046, 0.056, 0.082, 0.094, 0.104, 0.180])


def paint(traits: Traits, layout: Layout, grid: TexelGrid, material: np.ndarray) -> np.ndarray:
    """Texels (N, 4) uint8 of a head, as :class:`pipelines.synth.appearance.HeadAppearance` describes them."""
    places = grid.interpolate(layout.faces, layout.vertices - layout.middle).astype(np.float32)
    kind = material[grid.face]
    colour = np.empty((grid.count, 3), np.float32)
    gloss = np.full(grid.count, 0.5, np.float32)
    outside = kind == kernels.SKIN
    masks: dict[str, np.ndarray] = {
        name: grid.interpolate(layout.faces, smooth(layout.masks[name], layout.faces, 2 if name == "lips" else 1))[
            outside
        ]
        for name in ("lips", "ears", "neck", "eyelids", "eye_sockets")
        if name in layout.masks
    }
    colour[outside], gloss[outside] = _skin(traits, layout, places[outside], masks)
    for side, ball in enumerate(("left_eye", "right_eye")):
        mine = (kind == kernels.EYE) & (layout.masks[ball][layout.faces[grid.face, 0]] > 0)
        colour[mine] = _eyeball(traits, places[mine], layout.eyes[side] - layout.middle)
    wet = kind == kernels.MOUTH
    colour[wet] = _mouth(traits, grid, layout, places, wet)
    lashes = kind == kernels.LASH
    colour[lashes], gloss[lashes] = (0.012, 0.009, 0.008), 0.0
    encoded = np.sqrt(np.clip(colour, 0, 1))
    return np.round(255 * np.concatenate([encoded, gloss[:, None]], axis=1)).clip(0, 255).astype(np.uint8)


def hairline(traits: Traits, layout: Layout, places: np.ndarray) -> np.ndarray:
    """How far (metres) places (N, 3), relative to the eyes' middle, lie within the hair; negative outside."""
    del layout
    limit = np.interp(places[:, 1], HAIRLINE_Y - traits.hairline_m, HAIRLINE_Z)
    if traits.hair_style == "receding":  # the corners of the forehead go first
        corner = np.exp(-(((np.abs(places[:, 0]) - 0.038) / 0.020) ** 2) - ((places[:, 1] + 0.075) / 0.03) ** 2)
        limit = limit + 0.045 * corner
    return places[:, 2] - limit


def hair_lift(traits: Traits, layout: Layout) -> np.ndarray:
    """Thickness of the hair (V,) float32, metres, at the head's vertices."""
    places = (layout.vertices - layout.middle).astype(np.float32)
    inside = hairline(traits, layout, places)
    grown = smoothstep(-0.002, 0.028, inside) * smoothstep(0.06, 0.0, places[:, 1])
    lumps = 0.65 + 0.7 * fractal_noise(places, 0.03, 2, traits.seed + 7)
    lift = traits.hair_volume_m * grown * lumps
    for name in ("ears", "face", "neck", "left_eye", "right_eye", "lashes", "teeth", "tongue", "mouth_interior"):
        if name in layout.masks:
            lift = lift * (1 - layout.masks[name]) if name != "face" else lift
    fixed = lift == 0  # nothing grows outside
    return np.where(fixed, 0.0, smooth(lift, layout.faces, 2)).astype(np.float32)


def smooth(values: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Mean of values (V,) over each vertex' faces, repeated."""
    for _ in range(rounds):
        total, count = np.zeros(len(values)), np.zeros(len(values))
        mean = values[faces].mean(1)
        for corner in range(3):
            np.add.at(total, faces[:, corner], mean)
            np.add.at(count, faces[:, corner], 1)
        values = total / np.maximum(count, 1)
    return values


def _skin(
    traits: Traits, layout: Layout, places: np.ndarray, masks: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N, 3) and gloss (N,) of the outer skin with everything that grows or is painted on it."""
    seed = traits.seed
    none = np.zeros(len(places), np.float32)
    lips = smoothstep(0.36, 0.56, masks.get("lips", none))
    x, y, z = places.T
    mouth = (layout.mouth - layout.middle).astype(np.float32)

    # Tone: large soft blotches, small mottling, pores.
    blotch = fractal_noise(places, 0.022, 3, seed) - 0.5
    mottle = fractal_noise(places, 0.0045, 2, seed + 1) - 0.5
    pores = value_noise(places, 0.0011, seed + 2) - 0.5
    tone = 1 + 0.16 * blotch + 0.16 * mottle + 0.13 * pores
    colour = np.asarray(traits.skin, np.float32) * tone[:, None]

    # Blood: cheeks, tip of the nose, ears, chin.
    cheeks = np.exp(-(((np.abs(x) - 0.042) / 0.020) ** 2) - ((y - 0.038) / 0.018) ** 2)
    nose = np.exp(-((x / 0.014) ** 2) - ((y - 0.042) / 0.012) ** 2) * smoothstep(-0.015, -0.035, z)
    red = traits.ruddiness * (0.8 * cheeks + 0.8 * nose + 0.6 * masks.get("ears", none) + 0.25 * np.maximum(blotch, 0))
    colour *= np.exp(red[:, None] * np.array([0.03, -0.24, -0.20]))
    # Thin, darker skin round the eyes.
    for eye in layout.eyes - layout.middle:
        distance = np.hypot((x - eye[0]) / 1.35, y - eye[1] - 0.004)
        shade = smoothstep(0.024, 0.010, distance) * smoothstep(0.02, -0.02, z)
        colour *= np.exp(shade[:, None] * np.array([-0.14, -0.24, -0.20]))
        rim = smoothstep(0.0, 0.6, masks.get("eye_sockets", none)) + 0.6 * masks.get("eyelids", none)
        colour *= np.exp(-traits.makeup * (rim * (distance < 0.024))[:, None] * np.array([0.75, 0.8, 0.75]))

    # Freckles and moles.
    where = smoothstep(0.12, 0.02, np.abs(y - 0.02)) * smoothstep(0.03, -0.01, z)
    freckles = spots(places, 0.0036, traits.freckles, seed + 11) * where
    colour *= np.exp(-freckles[:, None] * np.array([0.16, 0.30, 0.38]))
    moles = smoothstep(0.0, 0.4, spots(places, 0.024, 0.07, seed + 12, radius=(0.035, 0.075)))
    colour *= np.exp(-moles[:, None] * np.array([0.9, 1.2, 1.2]))

    # Beard: chin, jaw, upper lip; as stubble beneath the skin or as short hair.
    gloss = 0.5 + 0.25 * (fractal_noise(places, 0.012, 2, seed + 3) - 0.5) + 0.25 * nose
    if traits.beard > 0:
        jaw = smoothstep(0.010, 0.045, y - 0.012) * smoothstep(0.085, 0.060, z)
        lower = smoothstep(0.050, 0.066, y + 0.30 * np.maximum(np.abs(x) - 0.02, 0))
        side = smoothstep(0.050, 0.062, np.abs(x)) * smoothstep(0.005, 0.04, y)
        moustache = np.exp(-((np.abs(x) / 0.030) ** 4) - ((y - mouth[1] + 0.014) / 0.0075) ** 4)
        area = np.clip(np.maximum(np.maximum(lower, side * 0.8) * jaw, moustache), 0, 1)
        area *= smoothstep(0.150, 0.115, y) * (1 - lips) * (1 - masks.get("ears", none))
        below_lip = np.exp(-((x / 0.014) ** 2) - ((y - mouth[1] - 0.016) / 0.004) ** 2)
        area *= 1 - 0.6 * below_lip
        strands = value_noise(places, (0.0006, 0.0022, 0.0008), seed + 21)
        density = traits.beard * area * (0.55 + 0.45 * fractal_noise(places, 0.008, 2, seed + 22))
        cover = np.clip(density * (0.25 + 0.75 * traits.beard_length) * (0.55 + 0.9 * strands), 0, 0.95)
        hair = np.asarray(traits.hair_colour) * 0.8 + 0.01
        stubble = colour * np.array([0.62, 0.66, 0.74])
        under = stubble * (1 - traits.beard_length) + hair * traits.beard_length
        colour = colour * (1 - cover[:, None]) + under * cover[:, None]
        gloss = gloss * (1 - 0.7 * cover)

    # Lips: red, with fine vertical wrinkles, darker where they meet.
    wrinkles = value_noise(places, (0.0009, 0.006, 0.006), seed + 31)
    seam = np.exp(-(((y - mouth[1]) / 0.0018) ** 2))
    lip = np.asarray(traits.skin) * np.asarray(traits.lip_colour) * (0.88 + 0.24 * wrinkles - 0.25 * seam)[:, None]
    colour = colour * (1 - lips[:, None]) + lip * lips[:, None]
    gloss = gloss * (1 - lips) + lips * (0.75 + 0.3 * wrinkles)

    colour, gloss = _brows(traits, layout, places, colour, gloss)
    return _scalp_hair(traits, layout, places, masks.get("ears", none), masks.get("neck", none), colour, gloss)


def _brows(
    traits: Traits, layout: Layout, places: np.ndarray, colour: np.ndarray, gloss: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Brows as slanted strands along an arc over each eye."""
    x, y, z = places.T
    hair = np.asarray(traits.hair_colour) * 0.55 + 0.006
    for sign, eye in zip((1.0, -1.0), layout.eyes - layout.middle, strict=True):
        dx, dy = sign * (x - eye[0]), y - eye[1]
        centre = -0.0212 + traits.brow_arch * (dx - 0.006) ** 2
        along = (dx + 0.021) / 0.050  # 0 at the nose, 1 at the temple
        half = traits.brow_thickness_m * (1.15 - 0.75 * np.clip(along, 0, 1) ** 1.5)
        slanted = np.stack([dx * 0.75 + dy * 0.9, dy * 0.35 - dx * 0.25, z], axis=1)
        strands = value_noise(slanted, (0.0009, 0.0035, 0.004), traits.seed + 41)
        edge = 1.0 - np.abs(dy - centre) / half + 0.7 * (strands - 0.5)
        cover = smoothstep(0.0, 0.55, edge) * smoothstep(-0.05, 0.06, along) * smoothstep(1.06, 0.9, along)
        cover *= smoothstep(0.02, 0.0, z) * (0.72 + 0.28 * strands) * smoothstep(0.0, 0.004, dx + 0.028)
        colour = colour * (1 - cover[:, None]) + hair * cover[:, None]
        gloss = gloss * (1 - 0.8 * cover)
    return colour, gloss


def strand_pattern(places: np.ndarray, seed: int) -> np.ndarray:
    """Brightness (N,) around 1 of hair combed from the crown outwards: fine strands and locks."""
    offset = places - np.array([0.0, -0.02, 0.08], np.float32)
    radius = np.linalg.norm(offset, axis=1, keepdims=True)
    direction = offset / np.maximum(radius, 1e-6)
    crown = np.array([0.12, -0.86, 0.5]) / np.linalg.norm([0.12, -0.86, 0.5])
    side = np.cross(crown, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    other = np.cross(crown, side)
    polar = np.arccos(np.clip(direction @ crown, -1, 1))
    azimuth = np.arctan2(direction @ other, direction @ side)
    wave = azimuth + 0.10 * np.sin(9 * polar + 3 * azimuth)
    # On a circle rather than along an angle, so that there is no seam at +-pi.
    ring = np.stack([np.cos(wave), np.sin(wave), 0.09 * polar], axis=1)
    fine = value_noise(ring, (0.011, 0.011, 0.035), seed)
    finer = value_noise(ring, (0.005, 0.005, 0.03), seed + 1)
    locks = value_noise(ring, (0.07, 0.07, 0.06), seed + 2)
    return 0.45 + 0.45 * fine + 0.35 * finer + 0.35 * locks


def _scalp_hair(
    traits: Traits,
    layout: Layout,
    places: np.ndarray,
    ears: np.ndarray,
    neck: np.ndarray,
    colour: np.ndarray,
    gloss: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Hair as a coloured cap with strands; its edge is ragged."""
    inside = hairline(traits, layout, places)
    strands = strand_pattern(places, traits.seed + 51)
    ragged = 0.006 * (value_noise(places, (0.0012, 0.006, 0.004), traits.seed + 52) - 0.5)
    ragged += 0.010 * (fractal_noise(places, 0.012, 2, traits.seed + 53) - 0.5)
    cover = smoothstep(-0.003, 0.006, inside + ragged) * smoothstep(0.55, 0.25, ears) * smoothstep(0.9, 0.6, neck)
    if traits.hair_style == "bald":  # a ring of short hair at the sides, a shadow on top
        ring = smoothstep(-0.055, -0.020, places[:, 1] + 0.5 * np.minimum(places[:, 2] - 0.08, 0))
        cover *= 0.10 + 0.6 * ring
    elif traits.hair_style == "receding":
        cover *= 0.92
    hair = np.asarray(traits.hair_colour) * strands[:, None]
    cover = np.clip(cover, 0, 1)
    shine = np.clip(1.2 * strands, 0, 2) * 0.5
    return colour * (1 - cover[:, None]) + hair * cover[:, None], gloss * (1 - cover) + shine * cover


def _eyeball(traits: Traits, places: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Sclera with veins, limbus, iris with radial fibres, pupil, by the angle from the axis of the eyeball."""
    direction = places - centre.astype(np.float32)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    angle = np.arccos(np.clip(-direction[:, 2], -1, 1))
    around = np.arctan2(direction[:, 1], direction[:, 0])
    ring = np.stack([np.cos(around), np.sin(around), 0.5 * angle], axis=1).astype(np.float32)
    fibres = value_noise(ring, (0.055, 0.055, 0.3), traits.seed + 61) + 0.5 * value_noise(ring, 0.16, traits.seed + 62)
    share = angle / IRIS_ANGLE
    iris = np.asarray(traits.iris) * (0.55 + 0.65 * fibres)[:, None]
    collar = np.exp(-(((share - 0.52) / 0.13) ** 2))
    iris = iris * (1 + 0.55 * collar)[:, None]
    veins = smoothstep(0.72, 0.9, fractal_noise(places, 0.0035, 2, traits.seed + 63))
    sclera = np.array([0.76, 0.73, 0.70]) * (1 - 0.10 * smoothstep(0.5, 1.2, angle))[:, None]
    sclera = sclera * np.exp(-(0.3 * veins + 0.20 * smoothstep(0.7, 1.2, angle))[:, None] * np.array([0.15, 0.9, 0.9]))
    limbus = smoothstep(1.05, 0.90, share)
    edge = smoothstep(0.72, 1.0, share)
    inner = iris * (1 - 0.72 * edge)[:, None]
    pupil = smoothstep(PUPIL_ANGLE + 0.03, PUPIL_ANGLE - 0.02, angle)
    inner = inner * (1 - pupil[:, None]) + 0.004 * pupil[:, None]
    return (sclera * (1 - limbus[:, None]) + inner * limbus[:, None]).astype(np.float32)


def _mouth(traits: Traits, grid: TexelGrid, layout: Layout, places: np.ndarray, wet: np.ndarray) -> np.ndarray:
    """Teeth with dark gaps and gums, the tongue, the mouth's inside."""
    first = layout.faces[grid.face[wet], 0]
    where = places[wet]
    colour = np.full((len(where), 3), (0.20, 0.045, 0.040), np.float32)
    none = np.zeros(len(layout.vertices))
    tongue = layout.masks.get("tongue", none)[first] > 0
    bumps = value_noise(where[tongue], 0.0011, traits.seed + 71)
    colour[tongue] = np.array([0.40, 0.125, 0.12]) * (0.8 + 0.4 * bumps)[:, None]
    for name, sign in (("upper_teeth", 1.0), ("lower_teeth", -1.0)):
        mine = layout.masks.get(name, none)[first] > 0
        if not mine.any():
            continue
        x, y, z = where[mine].T
        height = sign * (y - np.median(y))  # grows towards the biting edge
        arc = np.arctan2(x, 0.030 - (z - z.min()))  # round the dental arch
        width = 0.21 if sign > 0 else 0.17
        gap = np.abs(arc / width - np.round(arc / width)) * 2  # 1 at a gap
        enamel = np.array([0.62, 0.57, 0.47]) * (1 - 0.55 * smoothstep(0.86, 1.0, gap))[:, None]
        gums = smoothstep(-0.0015, -0.0035, height - 0.0012 * gap)
        colour[mine] = enamel * (1 - gums[:, None]) + np.array([0.42, 0.13, 0.12]) * gums[:, None]
    return colour
