"""The fit's stages as data: what each optimises, under which losses, in how many steps. ``fit_landmarks`` runs them.

python -m model.fitting.stages          prints the table of docs/tracking.md
"""

from __future__ import annotations

from dataclasses import dataclass

from model.fitting.config import FitConfig


@dataclass(frozen=True)
class Loss:
    """A term of the cost."""

    name: str
    """What it is."""
    weight: str
    """Its weight or standard deviation, with the value in force."""


@dataclass(frozen=True)
class FitStage:
    """One stage of the fit."""

    name: str
    """pose, shape or codes."""
    optimised: tuple[str, ...]
    """What changes; all else is held."""
    losses: tuple[Loss, ...]
    """The terms of its cost."""
    steps: int
    """Largest number of steps; a stage ends earlier when nothing is gained."""

    def has(self, loss: str) -> bool:
        """Whether a loss takes part."""
        return any(one.name == loss for one in self.losses)


def stages(config: FitConfig) -> tuple[FitStage, ...]:
    """The stages of a fit in their order, with the settings' weights."""
    data = (
        Loss("landmarks", f"Cauchy {config.cauchy:g} at {config.noise:.2%} of eye distance, /{config.redundancy:g}"),
        Loss("lip and lid vectors", f"{config.lip_pairs:g} and {config.lid_pairs:g}, /{config.redundancy:g}"),
        Loss("shared noise", f"{config.noise_modes} modes of the detector's error in a frame, eliminated"),
        Loss("expression prior", f"sd {config.expression_sd:g}, limits [0, 1] at sd {config.expression_limit_sd:g}"),
        Loss("jaw and eye priors", f"sd {config.jaw_sd:g} and {config.eye_sd:g} rad, eyes alike at "
                                   f"{config.eye_difference_sd:g} rad"),
    )  # fmt: skip
    shape = (
        Loss("shape prior", f"sd {config.shape_sd:g} per whitened code"),
        Loss("offset prior", f"{config.offsets} modes of the detector's error on a face, sd 1 per code"),
        Loss("size correction", f"{config.size_balance:g} x the effective number of codes x the log of the distance"),
    )
    smooth = Loss(
        "smoothness",
        f"second differences, sd {config.smooth_rotation:g} rad, {1e3 * config.smooth_translation_m:g} mm, depth "
        f"{1e3 * config.smooth_depth_m:g} mm, expression {config.smooth_expression:g}",
    )
    return (
        FitStage("pose", ("rotation", "translation"), (Loss("landmarks", "least squares, affine camera"),), 1),
        FitStage(
            "shape",
            ("shape", "offsets", "expression", "jaw", "eyes", "rotation", "translation"),
            data + shape,
            config.shape_iterations,
        ),
        FitStage("codes", ("expression", "jaw", "eyes", "rotation", "translation"), (*data, smooth), config.iterations),
    )


def as_table(config: FitConfig) -> str:
    """The stages as a Markdown table."""
    lines = ["| stage | optimised | losses | steps |", "|---|---|---|---|"]
    for stage in stages(config):
        losses = "; ".join(f"{loss.name} ({loss.weight})" for loss in stage.losses)
        lines.append(f"| {stage.name} | {', '.join(stage.optimised)} | {losses} | {stage.steps} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_table(FitConfig()))
