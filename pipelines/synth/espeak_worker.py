"""Speak lines with libespeak-ng in a process of its own. Standard library only; not imported by the project.

espeak-ng keeps hidden state between utterances (its pitch flutter goes on where the last one stopped), so the same
line spoken twice in one process differs. A fresh process that speaks a fixed list is exact to the sample: that is
why this is a script, started by ``pipelines.synth.espeak``.

Protocol: a JSON list of ``{"text", "voice", "pitch", "rate"}`` on standard input. On standard output, for each line,
one JSON line ``{"rate", "samples", "phonemes": [[ipa, sample], ...], "words": [[text, sample], ...]}`` followed by
``samples`` little-endian int16. Exit status 3: the library cannot be loaded; 4: a voice is missing.
"""

from __future__ import annotations

import ctypes
import json
import sys

LIBRARIES = ("libespeak-ng.so.1", "libespeak-ng.so", "libespeak-ng.1.dylib", "libespeak-ng.dll", "espeak-ng.dll")
NO_LIBRARY, NO_VOICE = 3, 4

# Constants of espeak-ng's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS, INITIALIZE_PHONEME_IPA, INITIALIZE_DONT_EXIT = 1, 2, 0x8000
CHARS_UTF8 = 1
EVENT_END_OF_LIST, EVENT_WORD, EVENT_PHONEME = 0, 1, 7
PARAMETER_RATE, PARAMETER_PITCH = 1, 3


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def load_library() -> ctypes.CDLL | None:
    """The first of ``LIBRARIES`` that the system's loader finds."""
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def main() -> int:
    """Read the lines, speak them, write the samples."""
    library = load_library()
    if library is None:
        return NO_LIBRARY
    if sys.argv[1:] == ["--probe"]:
        return 0
    flags = INITIALIZE_PHONEME_EVENTS | INITIALIZE_PHONEME_IPA | INITIALIZE_DONT_EXIT
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, None, flags)
    if rate <= 0:
        return NO_LIBRARY
    chunks: list[bytes] = []
    events: list[tuple[int, int, int, int, bytes]] = []

    def collect(wav: ctypes._Pointer[ctypes.c_short], count: int, event: ctypes._Pointer[_Event]) -> int:
        if wav and count > 0:
            chunks.append(ctypes.string_at(wav, 2 * count))
        index = 0
        while event[index].type != EVENT_END_OF_LIST:
            e = event[index]
            name = bytes(e.id.string) if e.type == EVENT_PHONEME else b""
            events.append((e.type, e.sample, e.text_position, e.length, name))
            index += 1
        return 0

    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    for line in json.load(sys.stdin):
        chunks.clear()
        events.clear()
        if library.espeak_SetVoiceByName(line["voice"].encode()) != 0:
            sys.stderr.write(line["voice"])
            return NO_VOICE
        library.espeak_SetParameter(PARAMETER_PITCH, int(line["pitch"]), 0)
        library.espeak_SetParameter(PARAMETER_RATE, int(line["rate"]), 0)
        text = line["text"]
        data = text.encode()
        library.espeak_Synth(data, len(data) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        library.espeak_Synchronize()
        audio = b"".join(chunks)
        if sys.byteorder == "big":
            audio = b"".join(audio[i + 1 : i + 2] + audio[i : i + 1] for i in range(0, len(audio), 2))
        header = {
            "rate": rate,
            "samples": len(audio) // 2,
            "phonemes": [
                [name.decode(errors="replace"), at] for kind, at, _, _, name in events if kind == EVENT_PHONEME
            ],
            # Text positions count characters from 1.
            "words": [[text[p - 1 : p - 1 + n], at] for kind, at, p, n, _ in events if kind == EVENT_WORD],
        }
        sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + audio)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
