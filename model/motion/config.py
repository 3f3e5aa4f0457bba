"""Settings of the network that predicts motion."""

from __future__ import annotations

from dataclasses import dataclass

from rsat_data.errors import ConfigError


@dataclass(frozen=True)
class SpeechConfig:
    """Which features of speech the network hears."""

    encoder: str = "logmel"
    """logmel (built in), or wav2vec2, hubert, wavlm from a folder of weights."""
    weights: str = ""
    """Folder with config.json and model.safetensors, for a pre-trained encoder."""


@dataclass(frozen=True)
class NetworkConfig:
    """Size and reach of the network."""

    width: int = 128
    """Channels inside."""
    layers: int = 3
    """Blocks that fuse both people."""
    heads: int = 4
    """Attention heads."""
    feedforward: int = 2
    """Width of the feed-forward layers, in units of ``width``."""
    reach: int = 50
    """Frames that attention looks to either side (causal: back); longer clips than the windows trained on work too."""
    causal: bool = False
    """Look at no later frame, so that motion can be made while sound arrives."""
    dropout: float = 0.1
    """Share of activations dropped in training."""
    queries: int = 4
    """Learnable queries of the social module."""
    draw_width: int = 160
    """Channels of the recurrent layer of the head that draws."""
    draw_parts: int = 24
    """Principal parts of motion that are drawn; what is in none of them stays at the mean."""
    draw_choices: int = 20
    """Components of the mixture that a draw chooses from in every frame."""
    reference_s: float = 3.0
    """Seconds at the clip's beginning that show the target's neutral face and style; metrics leave them out."""

    def __post_init__(self) -> None:
        """Refuse sizes that make no network.

        Raises:
            ConfigError: naming the field.
        """
        sizes = ("width", "layers", "heads", "feedforward", "reach", "queries")
        for name in (*sizes, "draw_width", "draw_parts", "draw_choices", "reference_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"network.{name} must be positive, it is {getattr(self, name)!r}.")
        if self.width % self.heads:
            raise ConfigError(f"network.width ({self.width}) must be a multiple of network.heads ({self.heads}).")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"network.dropout must lie in [0, 1), it is {self.dropout!r}.")
