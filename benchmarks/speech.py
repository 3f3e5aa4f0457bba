"""How much of a real conversation is heard right, without a picture, and what does it cost?

    python -m benchmarks.speech --data ../shared/data [--model whisper-base]

Reads ``audio/sample.{wav,rttm,stm}`` (30 s of a telephone call) and ``dualtalk_demo/*.wav`` (two files a conversation,
one a speaker). Everything runs as the stage `speech` runs it, offline, with its defaults.

* Diarisation error: missed, false and confused speaker time over all speaker time, no collar, overlap scored, the best
  mapping of speakers, on a grid of 10 ms.
* Word error: insertions, deletions and substitutions over words of the reference; case and punctuation are left out.
* Boundaries: beginnings and ends of the reference's utterances (it times no words) against those of the words that were
  recognised as their first and last ones.
* Mixtures: two channels mixed to one; share of frames of 40 ms in which each voice's activity is as in its own channel
  (leaks of the other taken off): by sound alone, each voice mapped for the best; and with the jaw of the one person
  whose head codes are given (`*_speakerN.npz`) for a mouth, as the stage does with one face and somebody out of sight.
* Cost: seconds a second of sound, of the same sound in the same run: voices told apart, the same with the lips of two
  faces asked whose they are, and the transcript, as the stage does; and whisperx (where it is installed) or
  faster-whisper with its own voice detection, each alone.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.machine import describe_machine, table
from pipelines.ingest.audio import read_audio_16k
from pipelines.speech import asr_faster_whisper
from pipelines.speech.activity import Heard, listen
from pipelines.speech.assign import Match, to_frames
from pipelines.speech.backends import choose_backend, recognise
from pipelines.speech.config import SpeechConfig
from pipelines.speech.diarise import best_order, diarisation_error, stitch
from pipelines.speech.inputs import Sound
from pipelines.speech.isolate import fit_length, leading, levels_db
from pipelines.speech.mouth import EYE_CORNERS, INNER_LIPS, Mouth, measure_mouth
from pipelines.speech.segmentation import Windows, segment
from pipelines.speech.voices import columns, count_voices
from pipelines.speech.words import Word
from rsat_data.registry import model_path

FRAME, RATE = 640, 16000


def plain(text: str) -> list[str]:
    """Words without case and punctuation."""
    return re.sub(r"[^\w' ]", " ", text.lower()).split()


def aligned(reference: list[str], found: list[str]) -> tuple[int, list[tuple[int, int]]]:
    """Least number of edits, and the pairs of words that are the same in one such alignment."""
    rows, columns = len(reference), len(found)
    cost = np.zeros((rows + 1, columns + 1), int)
    cost[:, 0], cost[0] = np.arange(rows + 1), np.arange(columns + 1)
    for i in range(rows):
        for j in range(columns):
            other = cost[i, j] + (reference[i] != found[j])
            cost[i + 1, j + 1] = min(other, cost[i, j + 1] + 1, cost[i + 1, j] + 1)
    pairs, i, j = [], rows, columns
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (reference[i - 1] != found[j - 1]):
            i, j = i - 1, j - 1
            if reference[i] == found[j]:
                pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return int(cost[rows, columns]), pairs[::-1]


def read_rttm(path: Path, steps: int) -> np.ndarray:
    """(steps, speakers) bool, every 10 ms."""
    spans = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = sorted({fields[7] for fields in spans})
    truth = np.zeros((steps, len(names)), bool)
    for fields in spans:
        start, length = float(fields[3]), float(fields[4])
        truth[round(start * 100) : round((start + length) * 100), names.index(fields[7])] = True
    return truth


def read_stm(path: Path) -> list[tuple[float, float, list[str]]]:
    """Utterances: start, end, words."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6:
            found.append((float(fields[3]), float(fields[4]), plain(fields[5])))
    return sorted(found)


def told_apart(windows: Windows, config: SpeechConfig) -> int:
    """How many voices the stage would tell apart."""
    return columns(config.speakers, count_voices(windows))


def hear(samples: np.ndarray, network: object, config: SpeechConfig) -> Heard:
    """Voices of a sound without faces, as the stage tells them apart."""
    frames = len(samples) // FRAME
    windows = segment(network, samples, hop_s=config.hop_s)  # type: ignore[arg-type]
    loud = levels_db(samples, hop=FRAME)[:frames] > config.silence_db
    voices = to_frames(stitch(windows, speakers=told_apart(windows, config)), frames) * loud[:, None]
    nothing = np.zeros(frames)
    return Heard(
        isolation="mixture", voice=voices.max(axis=1), voices=voices, hidden=nothing, speaking={}, posterior={},
        audio={}, match=Match(np.zeros((voices.shape[1], 0)), (), 0.0), speaking_hidden=nothing > 0, audio_hidden=None,
    )  # fmt: skip


def judge_call(folder: Path, network: object, config: SpeechConfig, whisper: Path) -> None:
    """Print diarisation, words and boundaries of the call."""
    samples, rate = soundfile.read(str(folder / "sample.wav"), dtype="float32")
    assert rate == RATE
    windows = segment(network, samples, hop_s=config.hop_s)  # type: ignore[arg-type]
    grid = stitch(windows, speakers=told_apart(windows, config)) >= config.voice_threshold
    steps = len(samples) // 160
    truth = read_rttm(folder / "sample.rttm", steps)
    error = diarisation_error(truth, np.repeat(grid, 2, axis=0)[:steps])
    heard = hear(samples, network, config)
    _, words, removed = recognise(Sound(fit_length(samples, len(heard.voice) * FRAME)), heard, whisper, config, 1)
    reference = read_stm(folder / "sample.stm")
    said = [word for *_, own in reference for word in own]
    written: list[tuple[str, Word]] = [(text, word) for word in words for text in plain(word.word)]
    edits, pairs = aligned(said, [text for text, _ in written])
    place = dict(pairs)
    gaps, at = [], 0
    for start, end, own in reference:
        for index, moment, side in ((at, start, "start"), (at + len(own) - 1, end, "end")):
            if own and index in place:
                gaps.append(abs(getattr(written[place[index]][1], side) - moment))
        at += len(own)
    print(
        table(
            [
                ["telephone call, 30 s", "found", "goal"],
                ["diarisation error, no collar", f"{100 * error:.1f} %", "10 %"],
                ["word error", f"{100 * edits / len(said):.1f} % of {len(said)} words", "25 %"],
                ["utterance boundaries within 0.3 s", f"{100 * np.mean(np.array(gaps) <= 0.3):.0f} %", ""],
                [f"boundaries ({len(gaps)}), median", f"{np.median(gaps):.2f} s", "0.3 s"],
                ["text taken out", "; ".join(f"{one.text!r} ({one.reason})" for one in removed) or "none", ""],
            ]
        )
    )


def jaw_as_mouth(codes: Path, frames: int) -> Mouth | None:
    """The mouth of the person whose head codes lie beside the sound: angle of the jaw (radians) for its opening.

    At the lips, a jaw of 1 rad opens a mouth by about the distance of the outer eye corners, the unit of openings.
    """
    if not codes.is_file():
        return None
    with np.load(codes) as arrays:
        angle = arrays["pose"][:frames, 3].astype(np.float64)
    opening = np.pad(angle, (0, frames - len(angle)), constant_values=np.nan)
    points = np.zeros((frames, 478, 3))
    points[:, EYE_CORNERS[1], 0] = 1.0
    points[:, INNER_LIPS[1], 1] = np.nan_to_num(opening)
    return measure_mouth(points, np.isfinite(opening))


def judge_mixtures(folder: Path, network: object, config: SpeechConfig) -> None:
    """Print how well voices of a mixture agree with their own channels, by sound alone and with one of the mouths."""
    rows = [["two channels mixed", "by sound alone", "with one mouth: its owner", "the other", "both", "goal"]]
    for first in sorted(folder.glob("*_speaker1.wav")):
        paths = [first, first.with_name(first.name.replace("_speaker1", "_speaker2"))]
        if not paths[1].is_file():
            continue
        channels = [read_audio_16k(path)[0] for path in paths]
        frames = min(map(len, channels)) // FRAME
        both = np.stack([channel[: frames * FRAME] for channel in channels])
        heard = [hear(channel, network, config).voice for channel in both]
        truth = np.stack(heard, axis=1) * leading(both, frames) >= config.voice_threshold
        mixture = both.sum(axis=0).astype(np.float32)
        found = hear(mixture, network, config).voices[:, :2] >= config.voice_threshold
        same = (truth[:, :, None] == found[:, None, :]).mean(axis=0)
        order = best_order(same)
        alone = np.mean([same[k, order[k]] for k in range(2)])
        cells = ["", "", ""]
        for who, path in enumerate(paths):
            mouth = jaw_as_mouth(path.with_suffix(".npz"), frames)
            if mouth is None:
                continue
            told = listen(Sound(mixture), {"A": mouth}, network, config)  # type: ignore[arg-type]
            own = float((told.speaking["A"] == truth[:, who]).mean())
            other = float((told.speaking_hidden == truth[:, 1 - who]).mean())
            cells = [f"{100 * value:.1f} %" for value in (own, other, (own + other) / 2)]
        rows.append([first.name.split("_speaker")[0][-22:], f"{100 * alone:.1f} %", *cells, "85 %"])
    print(table(rows))


def judge_cost(path: Path, network: object, config: SpeechConfig, whisper: Path, repeats: int) -> None:
    """Print seconds a second of sound, of the stage and of the recogniser alone, in turns."""
    samples = soundfile.read(str(path), dtype="float32")[0]
    seconds = len(samples) / RATE

    def voices() -> None:
        hear(samples, network, config)

    heard = hear(samples, network, config)

    def words() -> None:
        recognise(Sound(fit_length(samples, len(heard.voice) * FRAME)), heard, whisper, config, torch.get_num_threads())

    frames = len(samples) // FRAME
    moving = np.interp(np.arange(frames), np.arange(0, frames, 4), np.random.default_rng(0).random(-(-frames // 4)))
    mouths = {person: Mouth(moving, moving, 4 * moving - 2) for person in "AB"}  # what they do costs nothing

    def faces() -> None:
        listen(Sound(samples[: frames * FRAME]), mouths, network, config)  # type: ignore[arg-type]

    both = "voices told apart and married with two faces"
    jobs: dict[str, Callable[[], object]] = {"voices told apart": voices, both: faces, "transcript": words}
    name, alone = rival(samples, whisper, config)
    jobs[name] = alone
    taken: dict[str, list[float]] = {job: [] for job in jobs}
    for once in jobs.values():
        once()
    for _ in range(repeats):
        for job, run in jobs.items():
            start = time.perf_counter()
            run()
            taken[job].append((time.perf_counter() - start) / seconds)
    best = {job: min(found) for job, found in taken.items()}
    stage = best[both] + best["transcript"]
    rows = [["seconds a second of sound", "best of runs", "of the recogniser alone"]]
    rows += [[job, f"{best[job]:.3f}", f"{best[job] / best[name]:.2f}"] for job in jobs]
    rows.append(["stage: faces and transcript", f"{stage:.3f}", f"{stage / best[name]:.2f} (goal 1.20)"])
    print(table(rows))


def rival(samples: np.ndarray, whisper: Path, config: SpeechConfig) -> tuple[str, Callable[[], object]]:
    """A recogniser alone, with its own voice detection and word times: whisperx where it is, else faster-whisper."""
    threads = torch.get_num_threads()
    if choose_backend("auto") == "whisperx":
        from pipelines.speech import asr_whisperx

        package = asr_whisperx.load_package()
        whole = package.load_model(str(whisper), "cpu", compute_type="int8", threads=threads, local_files_only=True)
        return "whisperx alone (no word times)", lambda: whole.transcribe(samples, batch_size=8)
    model = asr_faster_whisper.load_whisper(whisper, "cpu", "int8", threads)

    def run() -> list[object]:
        segments, _ = model.transcribe(
            samples, beam_size=config.beam_size, temperature=0.0, word_timestamps=True, vad_filter=True
        )
        return list(segments)

    return "faster-whisper alone (with word times)", run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/ and dualtalk_demo/")
    parser.add_argument("--model", default="whisper-base", help="Whisper model, by its name among the model files")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each job whose cost is told")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    from model.speech.pyannet import load_pyannet

    network = load_pyannet(model_path("pyannote-segmentation"))
    config, whisper = SpeechConfig(model=options.model, device="cpu"), model_path(options.model)
    print(describe_machine())
    print(f"backend {choose_backend('auto')}, model {options.model}, {options.threads} threads\n")
    with torch.inference_mode():
        judge_call(options.data / "audio", network, config, whisper)
        print()
        judge_mixtures(options.data / "dualtalk_demo", network, config)
        print()
        judge_cost(options.data / "audio" / "sample.wav", network, config, whisper, options.repeats)


if __name__ == "__main__":
    main()
