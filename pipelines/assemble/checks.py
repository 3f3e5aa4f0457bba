"""Whether the rows of a clip keep what the format promises, before anybody writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import schemas
from pipelines.assemble.clocks import audio_length, video_length
from rsat_data.errors import StageError
from schemas.arrow import table_from_rows
from schemas.validators import audio_fits, row_problems


def check(clip_id: str, rows: Sequence[Mapping[str, Any]], conversation: Mapping[str, Any]) -> None:
    """The rows keep what the format promises: schema, values, clocks.

    Raises:
        StageError: names the clip, the row and the first problems.
    """
    found = []
    for table, records in (("triplets", rows), ("clips", [conversation])):
        spec = schemas.TABLES[table]
        try:
            problems = row_problems(table_from_rows(spec, records), spec)
        except ValueError as error:
            found.append(f"{table}: {error}")
            continue
        found += [f"{table} row {problem.row}: {problem.column} {problem.message}" for problem in problems]
        for record in records:
            found += [f"{table} {record['clip_id']}: {text}" for text in media_problems(record, spec)]
    if found:
        raise StageError(
            f"{clip_id}: the stages' results do not fit together: {'; '.join(found[:3])}"
            + (f" and {len(found) - 3} more." if len(found) > 3 else "."),
            hint="This is a fault of the stage that made the value, not of the video; please report it.",
        )


def media_problems(record: Mapping[str, Any], spec: schemas.Table) -> list[str]:
    """Compare the clocks of a row's media with its frames, as sentences that begin with the column.

    Args:
        record: a row that has fps, num_frames, sample_rate and the media columns of ``spec`` it should be checked for.
        spec: triplets or clips.
    """
    problems = []
    frames, fps, rate = int(record["num_frames"]), float(record["fps"]), int(record["sample_rate"])
    for column in spec:
        cell = record.get(column.name)
        if not column.media or cell is None or cell["bytes"] is None:
            continue
        try:
            if column.media == "audio":
                sound = audio_length(cell["bytes"])
                if (sound.sample_rate, sound.channels, sound.format) != (rate, 1, "FLAC"):
                    problems.append(
                        f"{column.name} is {sound.format} of {sound.channels} channels at {sound.sample_rate} Hz, "
                        f"should be mono FLAC at {rate} Hz"
                    )
                elif not audio_fits(sound.samples, rate, frames, fps):
                    problems.append(
                        f"{column.name} lasts {sound.samples / rate:.3f} s, {frames} frames last {frames / fps:.3f} s"
                    )
            elif column.media == "video":
                video = video_length(cell["bytes"])
                if video.frames != frames:
                    problems.append(f"{column.name} holds {video.frames} frames, num_frames is {frames}")
                if abs(video.fps - fps) > 0.01:
                    problems.append(f"{column.name} runs at {video.fps:.3f} frames a second, fps is {fps:g}")
            elif cell["bytes"][:2] != b"\xff\xd8" or cell["bytes"][-2:] != b"\xff\xd9":
                problems.append(f"{column.name} is not a whole JPEG")
        except ValueError as error:
            problems.append(f"{column.name} {error}")
    return problems
