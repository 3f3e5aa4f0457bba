"""Settings of the landmark fit: noise, priors, smoothing and iteration counts, each in physical units."""

from __future__ import annotations

from dataclasses import dataclass

from rsat_data.errors import ConfigError

_MAY_BE_ZERO = ("blendshape_start", "blendshape_pull", "lip_pairs", "lid_pairs", "offsets", "noise_modes")


@dataclass(frozen=True)
class FitConfig:
    """How landmarks are turned into mesh codes. Standard deviations say how far a value may go at the cost of 1/2."""

    noise: float = 0.012
    """Standard deviation of a landmark, as a share of the distance between the eyes."""
    cauchy: float = 2.5
    """Scale of the Cauchy loss in units of ``noise``: residuals beyond it lose weight."""
    redundancy: float = 8.0
    """How many neighbouring landmarks share one error. The 478 points are no independent measurements."""
    lips: float = 2.0
    """Weight of lip points relative to skin."""
    lids: float = 2.0
    """Weight of eyelid points relative to skin."""
    iris: float = 6.0
    """Weight of the ten iris points, which alone see the gaze; scaled down as an eye closes."""
    oval: float = 0.3
    """Weight of the face outline, which slides along the silhouette as the head turns."""
    lip_pairs: float = 6.0
    """Weight of the vectors between upper and lower lip points: what closes the mouth."""
    lid_pairs: float = 6.0
    """Weight of the vectors between upper and lower lid points: what closes the eyes."""

    offsets: int = 40
    """How many modes of the detector's own error on a face are told apart from its shape and turn; 0 for none."""
    noise_modes: int = 16
    """How many modes of its error in a frame, shared by neighbouring landmarks, count as noise; 0 for none."""

    shape_sd: float = 1.0
    """Prior standard deviation of whitened shape codes."""
    shape_frames: int = 16
    """Frames from which the shape is solved: the first the most frontal, the others as different as possible."""
    shape_evidence: float = 8.0
    """How many independent pictures those frames count for; landmark errors of one face repeat from frame to frame."""
    size_balance: float = 0.6
    """Share of the pull towards larger heads that theory asks for (``solve_shape``); 1 made heads 3 % too large."""
    shape_iterations: int = 30
    """Joint iterations of shape and codes."""

    shape_tolerance: float = 0.02
    """Decrease of the cost (a log probability) below which these iterations end."""

    expression_sd: float = 0.2
    """Prior standard deviation of an expression around ``blendshape_pull`` x MediaPipe's blendshape."""
    expression_limit_sd: float = 0.05
    """Standard deviation beyond the soft limits [0, 1] of an expression."""
    blendshape_start: float = 0.5
    """Share of MediaPipe's blendshapes taken as the starting point of the expressions."""
    blendshape_pull: float = 0.0
    """Share of MediaPipe's blendshapes taken as the mean of the priors of expressions and jaw."""
    jaw_open_rad: float = 0.35
    """Jaw angle (radians) that a jawOpen blendshape of 1 starts from."""
    jaw_sd: float = 0.3
    """Prior standard deviation of the jaw's opening, radians."""
    jaw_side_sd: float = 0.04
    """Prior standard deviation of the jaw's other two angles, radians."""
    jaw_max_rad: float = 0.6
    """Soft upper limit of the jaw's opening, radians; the lower one is 0."""
    jaw_limit_sd: float = 0.02
    """Standard deviation beyond the jaw's limits, radians."""
    eye_sd: float = 0.35
    """Prior standard deviation of an eye's horizontal and vertical angle, radians."""
    eye_roll_sd: float = 0.01
    """Prior standard deviation of an eye's roll about its gaze, radians: no landmark sees it."""
    eye_difference_sd: float = 0.04
    """Standard deviation of the difference between the two eyes' angles, radians."""
    eye_max_rad: float = 0.7
    """Soft limit of an eye's angles to either side, radians."""

    jerk: float = 0.03
    """Acceleration of the landmarks' centre, in distances between the eyes per frame^2, at which smoothing counts half:
    what the picture shows to jerk must not be smoothed away."""
    smooth_expression: float = 0.06
    """Standard deviation of an expression's second difference over time (1/frame^2)."""
    smooth_lids: float = 0.5
    """The same for blinks and squints, which last four frames and must keep their depth."""
    smooth_jaw: float = 0.04
    """The same for the jaw's opening, radians."""
    smooth_jaw_side: float = 0.006
    """The same for the jaw's other two angles, radians."""
    smooth_eyes: float = 0.15
    """The same for the eyes' angles, radians: saccades are jumps."""
    smooth_rotation: float = 0.003
    """The same for the head's rotation, radians."""
    smooth_translation_m: float = 0.0003
    """The same for the head's translation across the image, metres."""
    smooth_depth_m: float = 0.0004
    """The same for the head's distance, metres: landmarks barely see it, so it jitters most."""

    iterations: int = 8
    """Levenberg-Marquardt iterations of the codes, after the shape is known."""
    tolerance: float = 3e-3
    """Relative decrease of the total cost below which iterations end."""
    window: int = 768
    """Frames fitted at once. Longer clips are cut into overlapping windows, so memory does not grow with length."""
    overlap: int = 32
    """Frames that two windows share; half of it is thrown away at each inner end."""

    error_gate: float = 0.08
    """Mean reprojection error, as a share of the distance between the eyes, beyond which a frame is not valid."""

    def __post_init__(self) -> None:
        """Refuse values no fit can work with.

        Raises:
            ConfigError: naming the field.
        """
        for name, value in vars(self).items():
            if not isinstance(value, int | float):
                continue
            if not (value > 0 or (value == 0 and name in _MAY_BE_ZERO)):
                raise ConfigError(f"flame.{name} must be positive, it is {value!r}.")
        if self.overlap >= self.window:
            raise ConfigError(f"flame.overlap ({self.overlap}) must be smaller than flame.window ({self.window}).")
