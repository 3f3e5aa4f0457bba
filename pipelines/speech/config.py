"""Options of the speech stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rsat_data.errors import ConfigError


@dataclass(frozen=True)
class SpeechConfig:
    """Options of the speech stage; the defaults suit conversations of one or two people on an ordinary CPU."""

    backend: Literal["auto", "whisperx", "faster-whisper"] = "auto"
    """Speech to text. auto: whisperx where it is installed, else faster-whisper, the engine beneath it."""
    model: str = "whisper-base"
    """Whisper model, by its name among the model files. whisper-tiny.en is faster, English only, and less exact."""
    language: str = ""
    """Language code such as en; empty: detected clip by clip. An English-only model ignores it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks run. auto: CUDA where it works, else the CPU."""
    compute_type: str = "auto"
    """Number format of Whisper's weights, as CTranslate2 names them. auto: int8 on a CPU, float16 on CUDA."""
    beam_size: int = 5
    """Beams of the decoder. Decoding is deterministic: temperature 0, no fallback to sampling."""
    align: Literal["auto", "off"] = "auto"
    """Forced alignment of words (whisperx only): where its weights lie on this machine, they give the word times."""
    align_model: str = ""
    """Folder of a wav2vec2 CTC model to align with; empty: whisperx's default for the language, if it is cached."""
    diariser: Literal["auto", "local", "pyannote"] = "auto"
    """What tells voices of a mixture apart. local: the segmentation network in windows that are stitched together;
    pyannote: pyannote.audio's own pipeline; auto: that pipeline where it and its weights are here."""
    diariser_folder: str = ""
    """Your own folder of pyannote's pipeline (with its config.yaml); empty: the cache of the Hugging Face hub."""
    speakers: int = 0
    """Voices told apart in a mixture. 0: as many as are counted; by the local way two at least and three at most."""
    hop_s: float = 0.5
    """Distance of the 5 s windows in which speakers are told apart, in seconds."""
    voice_threshold: float = 0.5
    """Speech probability from which a frame counts as speech."""
    silence_db: float = -60.0
    """Frames quieter than this (RMS, dB of full scale) are silence whatever the network says."""
    active_speaker: Literal["auto", "lips", "light_asd"] = "auto"
    """Who of the faces speaks is told by their lips; with light_asd, also by a network that looks and listens. auto:
    also by that network, where its weights lie on this machine (`rsat-data models fetch light-asd`) and voices and lips
    leave it open."""
    asd_weights: str = ""
    """Your own file of Light-ASD's weights (finetuning_TalkSet.model); empty: that of the register."""
    mouth_weight: float = 1.0
    """Weight of moving lips against voices when it is decided who talks; 0: voices alone."""
    turn_gap_s: float = 0.4
    """A pause of one person shorter than this does not end the turn."""
    min_turn_s: float = 0.16
    """Shorter runs of speech are taken for noise."""
    fade_ms: float = 20.0
    """Length of the fades where a person's audio is cut out of the mixture."""

    def __post_init__(self) -> None:
        """Refuse values that could only fail later, in a worker."""
        for name, low, high in (
            ("hop_s", 0.1, 4.0),
            ("voice_threshold", 0.05, 0.95),
            ("mouth_weight", 0.0, 10.0),
            ("turn_gap_s", 0.0, 5.0),
            ("min_turn_s", 0.0, 5.0),
            ("fade_ms", 0.0, 200.0),
            ("beam_size", 1, 20),
            ("speakers", 0, 3),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"speech.{name} is {value}; it must lie between {low} and {high}.")
