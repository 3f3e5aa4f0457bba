from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import schemas
from rsat_data import card, reader
from schemas import triplets, vocabulary
from schemas.arrow import table_from_rows
from schemas.column import leaves
from schemas.version import FORMAT_VERSION, is_readable
from tests.dataset_factory import ClipSpec, make_row

DOC = Path(__file__).resolve().parents[2] / "docs" / "format.md"


def test_leaf_paths_are_those_parquet_uses() -> None:
    for spec in schemas.TABLES.values():
        buffer = io.BytesIO()
        pq.write_table(spec.schema.empty_table(), buffer)
        parquet = pq.ParquetFile(buffer).schema
        assert [parquet.column(n).path for n in range(len(parquet))] == list(leaves(spec.schema)), spec.name


def test_encodings_in_the_file() -> None:
    rows = [make_row(ClipSpec("s", "a", "b", frames=200, video=False), person) for person in "AB"]
    buffer = io.BytesIO()
    spec = schemas.TABLES["triplets"]
    with pq.ParquetWriter(buffer, spec.schema, **schemas.parquet_options(spec.schema)) as writer:
        writer.write_table(table_from_rows(spec, rows))
    file = pq.ParquetFile(buffer)
    group = file.metadata.row_group(0)
    chunks = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    for path, kind in leaves(spec.schema).items():
        chunk = chunks[path]
        dictionary = any("DICTIONARY" in encoding for encoding in chunk.encodings)
        if pa.types.is_binary(kind):
            assert chunk.compression == "UNCOMPRESSED" and not dictionary, path
        else:
            assert chunk.compression == "ZSTD", path
            assert dictionary == pa.types.is_string(kind), path
        assert ("BYTE_STREAM_SPLIT" in chunk.encodings) == pa.types.is_floating(kind), path
        assert chunk.has_offset_index, path
    assert file.schema_arrow.metadata[b"rsat_data.format_version"] == FORMAT_VERSION.encode()


def test_every_column_is_described() -> None:
    for spec in schemas.TABLES.values():
        assert len(spec.by_name) == len(spec.columns)
        for column in spec:
            assert column.meaning.endswith((".", "?")), (spec.name, column.name)
            assert column.media == "" or column.type == schemas.column.MEDIA
            if column.is_frames:
                assert column.shape.startswith("(T, "), column.name


def test_reader_and_schemas_agree_on_the_format() -> None:
    assert is_readable(f"{reader.FORMAT_MAJOR}.7")
    assert FORMAT_VERSION.split(".")[0] == reader.FORMAT_MAJOR
    assert not is_readable("2.0") and not is_readable("")


@pytest.mark.parametrize("person", vocabulary.PERSONS)
@pytest.mark.parametrize("senior", vocabulary.SENIOR_OF_CLIP)
def test_seniority_is_the_same_from_both_sides(senior: str, person: str) -> None:
    seen = vocabulary.senior_of_person(senior, person)
    assert seen in vocabulary.SENIOR_OF_PERSON
    assert vocabulary.senior_of_clip(seen, person) == senior


def test_columns_of_the_design_are_there() -> None:
    assert triplets.FRAME_COLUMNS == ("expression", "jaw", "neck", "eyes", "rotation", "translation")
    assert triplets.MEDIA_COLUMNS == ("audio", "image", "video", "matte")


def test_docs_name_every_column_as_declared() -> None:
    text = DOC.read_text(encoding="utf-8")
    for name in schemas.TABLES:
        table = "\n".join(card.column_table(name))
        assert table in text, (
            f"docs/format.md is behind schemas/{name}.py: run `python -m rsat_data.card docs/format.md`"
        )
