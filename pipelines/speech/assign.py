"""Whose voice is whose face, and who talks in every frame: voices and lips weighed together.

Two questions. Which stitched speaker belongs to which face is answered once for a clip (:func:`match_voices`) by a
matrix of scores and the best assignment in it. Who talks in a frame is answered by a hidden Markov model over nobody,
each person, both, and somebody out of sight (:func:`decode_activity`), in which the voices count as much as the match
of voices and faces is trusted, and the lips count always. So where the voices are alike, or only one was told apart,
the lips decide; where a face is not seen, the voices do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Score of a voice that belongs to no face: lips that say less against it than this may be a mumbler's.
_OFF_SCREEN = -0.3
#: A face whose lips say this while a voice is heard (mean log-odds; -2 is the least) is shut: not the one who says it,
_SHUT = -1.2
#: judged where the voice is heard in at least this many frames.
_SHUT_FRAMES = 25
#: Posteriors are kept this far from 0 and 1: the network is surer than it should be.
_EDGE = 0.03
#: Somebody out of sight is this unlikely to be the one who talks (log).
_HIDDEN_PRIOR = -0.7
#: Both at once is this unlikely beyond what the overlap evidence says (log).
_BOTH_PRIOR = -1.0
#: Weight of whose voice it is, where the match of voices and faces is certain.
_VOICE_WEIGHT = 0.5
#: Cost of changing state between two frames of 40 ms (log).
_SWITCH = -3.0
#: Neighbouring frames repeat the same evidence: each counts this much.
_FRAME_WEIGHT = 0.35


@dataclass(frozen=True)
class Match:
    """Which voice belongs to which face."""

    scores: np.ndarray
    """(K, P) float64: agreement of voice k with the lips of face p, in [-1, 1]: see :func:`match_voices`."""
    voice_of: tuple[int | None, ...]
    """For each face the voice that is its own; None where none fits it."""
    confidence: float
    """In [0, 1]: how much better this assignment explains the lips than the next one does."""


def match_voices(voices: np.ndarray, lips: np.ndarray) -> Match:
    """Assign voices to faces by the lips.

    Score of voice k and face p: sum_t (2 v_k - 1) l_p / sum_t |2 v_k - 1| |l_p| over frames with speech, v the
    posterior of the voice, l the log-odds of the lips: 1 where they always agree. The assignment with the greatest
    sum is taken (Hungarian method), in which any voice may be nobody's in sight: that scores a little less than chance,
    so only a voice that all lips contradict belongs to no face. Nor does one belong to a mouth that is shut nearly
    throughout while it is heard: silence during the other voice would else make up for that. The confidence is the
    cosine between (difference of the voices) and (difference of the lips) where there are two of each, scaled down
    where the voices differ for less than a second in all.

    Args:
        voices: (T, K) float in [0, 1] at 25 frames a second.
        lips: (T, P) log-odds of talking.
    """
    from scipy.optimize import linear_sum_assignment

    num_voices, num_faces = voices.shape[1], lips.shape[1]
    speech = voices.max(axis=1, initial=0.0) > 0.3
    sign = 2.0 * voices[speech] - 1.0
    agree = sign.T @ lips[speech]
    most = np.abs(sign).T @ np.abs(lips[speech])
    scores = np.where(most > 1e-9, agree / np.maximum(most, 1e-9), 0.0)
    own = voices[speech] > 0.5
    length = own.sum(axis=0)[:, None]
    shut = (own.T @ lips[speech] < _SHUT * length) & (length >= _SHUT_FRAMES)
    # One column more for each voice: out of sight.
    nobody = np.repeat(_OFF_SCREEN * most.max(axis=1, initial=0.0, keepdims=True), num_voices, axis=1)
    rows, columns = linear_sum_assignment(-np.concatenate([np.where(shut, nobody[:, :1] - 1e3, agree), nobody], axis=1))
    voice_of: list[int | None] = [None] * num_faces
    for voice, place in zip(rows, columns, strict=True):
        if place < num_faces:
            voice_of[int(place)] = int(voice)
    return Match(scores=scores, voice_of=tuple(voice_of), confidence=_confidence(voices, lips, num_voices, num_faces))


def _confidence(voices: np.ndarray, lips: np.ndarray, num_voices: int, num_faces: int) -> float:
    if num_voices == 0 or num_faces == 0:
        return 0.0
    if num_voices == 1:
        return 1.0 if num_faces == 1 else 0.0
    # One face and two voices: the lips say which voice it is; two of each: the contrast of both.
    voice = voices[:, 0] - voices[:, 1]
    lip = lips[:, 0] - lips[:, 1] if num_faces > 1 else lips[:, 0]
    norm = float(np.sqrt(np.square(voice).sum() * np.square(lip).sum()))
    seconds = float(np.abs(voice).sum()) / 25.0
    cosine = float((voice * lip).sum()) / norm if norm > 1e-9 else 0.0
    return float(min(1.0, abs(cosine) / 0.8) * min(1.0, seconds / 1.0))


@dataclass(frozen=True)
class Activity:
    """Who talks when."""

    speaking: np.ndarray
    """(T, P) bool: the most likely sequence (Viterbi)."""
    posterior: np.ndarray
    """(T, P) float64 in [0, 1]: probability that the person talks in the frame (forward-backward)."""
    hidden: np.ndarray
    """(T,) float64 in [0, 1]: probability that somebody out of sight talks."""


def states_of(num_faces: int) -> np.ndarray:
    """States of the model: (S, P + 1) bool, columns: each person talks, somebody out of sight talks."""
    rows = [[False] * (num_faces + 1)]
    rows += [[person == other for other in range(num_faces)] + [False] for person in range(num_faces)]
    if num_faces > 1:
        rows.append([True] * num_faces + [False])
    rows.append([False] * num_faces + [True])
    if num_faces == 1:
        rows.append([True, True])
    return np.array(rows)


def log_evidence(
    voices: np.ndarray, voice: np.ndarray, lips: np.ndarray, match: Match, *, mouth_weight: float = 1.0
) -> np.ndarray:
    """Log-likelihood of every state in every frame, (T, S).

    Args:
        voices: (T, K) posteriors of the speakers told apart.
        voice: (T,) probability that anybody talks.
        lips: (T, P) log-odds of talking.
        match: whose voice is whose.
        mouth_weight: weight of the lips.
    """
    num_faces = lips.shape[1]
    states = states_of(num_faces)
    speech = np.clip(voice, _EDGE, 1 - _EDGE)
    ordered = np.sort(np.clip(voices, _EDGE, 1 - _EDGE), axis=1)
    double = ordered[:, -2] if voices.shape[1] > 1 else np.full(len(voices), _EDGE)
    strangers = [voice for voice in range(voices.shape[1]) if voice not in match.voice_of]
    result = np.zeros((len(voices), len(states)))
    for index, state in enumerate(states):
        talkers = int(state.sum())
        score = 2.0 * (np.log(speech) if talkers else np.log(1 - speech))
        if talkers > 1:
            score = score + np.log(double) + _BOTH_PRIOR
        elif talkers == 1:
            score = score + np.log(1 - double)
        if state[-1]:
            score = score + _HIDDEN_PRIOR
        if strangers and talkers:
            heard = np.clip(voices[:, strangers].max(axis=1), _EDGE, 1 - _EDGE)
            score = score + _VOICE_WEIGHT * match.confidence * np.log(heard if state[-1] else 1 - heard)
        for face in range(num_faces):
            own = match.voice_of[face]
            if own is not None and talkers:
                talks = np.clip(voices[:, own], _EDGE, 1 - _EDGE)
                score = score + _VOICE_WEIGHT * match.confidence * np.log(talks if state[face] else 1 - talks)
            score = score + mouth_weight * 0.5 * lips[:, face] * (1.0 if state[face] else -1.0)
        result[:, index] = score
    return result


def decode_activity(
    voices: np.ndarray, voice: np.ndarray, lips: np.ndarray, match: Match, *, mouth_weight: float = 1.0
) -> Activity:
    """Who talks in every frame. Arguments as :func:`log_evidence`; ``voice`` at exactly 0 is certain silence."""
    states = states_of(lips.shape[1])
    if not len(voices):
        empty = np.zeros((0, lips.shape[1]))
        return Activity(speaking=empty.astype(bool), posterior=empty, hidden=np.zeros(0))
    evidence = _FRAME_WEIGHT * log_evidence(voices, voice, lips, match, mouth_weight=mouth_weight)
    silent = voice <= 0.0
    evidence[np.ix_(silent, states.any(axis=1))] = -1e9
    changed = np.full((len(states), len(states)), _SWITCH)
    np.fill_diagonal(changed, 0.0)
    path = viterbi(evidence, changed)
    posterior = forward_backward(evidence, changed)
    talk = states.astype(np.float64)
    persons = posterior @ talk
    return Activity(speaking=states[path][:, :-1], posterior=persons[:, :-1], hidden=persons[:, -1])


def viterbi(evidence: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Most likely state sequence, (T,) int64, for (T, S) log-likelihoods and (S, S) log-transitions from, to."""
    best = evidence[0].copy()
    origin = np.zeros(evidence.shape, dtype=np.int64)
    for t in range(1, len(evidence)):
        candidates = best[:, None] + transition
        origin[t] = candidates.argmax(axis=0)
        best = candidates.max(axis=0) + evidence[t]
    path = np.zeros(len(evidence), dtype=np.int64)
    path[-1] = int(best.argmax())
    for t in range(len(evidence) - 1, 0, -1):
        path[t - 1] = origin[t, path[t]]
    return path


def forward_backward(evidence: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Probability of every state in every frame, (T, S), for log-likelihoods and unnormalised log-transitions."""
    step = np.exp(transition)
    likelihood = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    forward, backward = np.empty_like(likelihood), np.ones_like(likelihood)
    forward[0] = likelihood[0] / likelihood[0].sum()
    for t in range(1, len(evidence)):
        row = (forward[t - 1] @ step) * likelihood[t]
        forward[t] = row / row.sum()
    for t in range(len(evidence) - 2, -1, -1):
        row = step @ (likelihood[t + 1] * backward[t + 1])
        backward[t] = row / row.sum()
    both = forward * backward
    return both / both.sum(axis=1, keepdims=True)


def to_frames(grid: np.ndarray, num_frames: int, steps_per_frame: int = 2) -> np.ndarray:
    """Mean over the grid steps of each video frame: (G, ...) -> (num_frames, ...); past the end the last step holds."""
    need = num_frames * steps_per_frame
    padded = grid[:need]
    if len(padded) < need:
        last = padded[-1:] if len(padded) else np.zeros((1, *grid.shape[1:]))
        padded = np.concatenate([padded, np.repeat(last, need - len(padded), axis=0)])
    return padded.reshape(num_frames, steps_per_frame, *grid.shape[1:]).mean(axis=1)
