"""The column of texts in a Parquet file, read a few rows at a time.

A file of a few kilobytes may stand for many gigabytes: a long value stored once, and a million rows that are that
value. Since no value is longer than the part of the column it is stored in (its column chunk), as many rows are read
at once as fit into memory even if all of them are that long.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow
import pyarrow.parquet

from helpers.errors import InputError, refused
from helpers.text.columns import COLUMN, checked, named

MOST_ROWS = 4096
MEMORY_SHARE = 1 / 8


def texts(path: Path) -> Iterator[str]:
    """The texts in column ``text``; missing ones are passed over. Raises ``InputError``."""
    with refused(f"{path} is no readable Parquet file: write it again"), pyarrow.parquet.ParquetFile(path) as file:
        _check_column(path, file.schema_arrow)
        for batch in file.iter_batches(_rows_at_once(path, file.metadata), columns=[COLUMN]):
            for value in batch.column(0).to_pylist():
                if value is not None:
                    yield checked(value, str(path))


def _check_column(path: Path, schema: pyarrow.Schema) -> None:
    columns = schema.get_all_field_indices(COLUMN)
    if not columns:
        raise InputError(f"{path} has no column {COLUMN!r} (it has: {named(schema.names)}): rename one")
    if len(columns) > 1:
        raise InputError(f"{path} has {len(columns)} columns {COLUMN!r}: leave one of them")
    kind = schema.field(columns[0]).type
    values = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    is_text = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view)
    if not any(test(values) for test in (*is_text, pyarrow.types.is_null)):
        raise InputError(f"{path}: column {COLUMN!r} holds {kind}, not text; give one that holds text")


def _rows_at_once(path: Path, metadata: pyarrow.parquet.FileMetaData) -> int:
    """How many rows fit into memory, were each as long as all that is stored of the column in a row group."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    stored = [column for group in groups for column in map(group.column, range(group.num_columns))]
    longest = max((each.total_uncompressed_size for each in stored if each.path_in_schema == COLUMN), default=0)
    rows = int(MEMORY_SHARE * psutil.virtual_memory().available) // max(1, longest)
    if rows < 1:
        raise InputError(f"{path} has row groups of {longest:,} bytes, too many for memory: write it with smaller ones")
    return min(rows, MOST_ROWS)
