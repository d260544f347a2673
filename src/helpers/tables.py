"""Save and load tidy tables: what a figure shows, row by row, and where it came from.

``<slug>.csv`` holds one row per layer (and intervention) with 5 significant digits, which two machines agree on;
``<slug>.<detail>.parquet`` the rows it was computed from (sequences, or neurons), with the run's
parameters as metadata. Files appear complete or not at all. A long run may leave its rows in shards, parts of the
text that are measured by themselves.
"""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from helpers import files, paths
from helpers.errors import InputError, refused

SIGNIFICANT = "%.5g"
LEADING_COLUMNS = ["model", "layer", "depth", "intervention"]


def save(
    slug: str,
    model: str,
    table: pd.DataFrame,
    details: pd.DataFrame | None = None,
    detail: str = "sequences",
    **provenance: str | int | float,
) -> pd.DataFrame:
    """Write the table of one experiment on one model, and return it as written (rounded, model and depth added).

    ``details`` go to ``<slug>.<detail>.parquet`` with ``provenance``, the run's parameters, as metadata.
    """
    folder = paths.results(model)
    table = rounded(with_keys(table, paths.model_folder(model)))
    write(folder / f"{slug}.csv", table)
    if details is not None:
        details.attrs = {"slug": slug, "model": paths.model_folder(model), **provenance}
        with files.writing(folder / f"{slug}.{detail}.parquet") as path:
            details.to_parquet(path, index=False)
    return table


def load(slug: str, model: str) -> pd.DataFrame | None:
    """A table as ``save`` wrote it; none where the experiment has not been run. ``InputError`` if it is damaged."""
    file = files.reading(paths.results(model) / f"{slug}.csv")
    return _read(file) if file.exists() else None


def load_details(slug: str, model: str, detail: str = "sequences") -> pd.DataFrame | None:
    """The rows that a table was computed from; none where the experiment has not been run, or keeps none."""
    file = files.reading(paths.results(model) / f"{slug}.{detail}.parquet")
    return _read(file) if file.exists() else None


def save_shard(slug: str, model: str, number: int, of: int, rows: pd.DataFrame, inputs: str) -> None:
    """Keep the rows of one part of a text, the ``number``-th ``of`` so many; ``inputs`` says what they depend on."""
    rows.attrs = {"inputs": inputs}
    with files.writing(_shard(slug, model, number, of)) as path:
        rows.to_parquet(path, index=False, write_page_checksum=True)


def shard_inputs(slug: str, model: str, number: int, of: int) -> str | None:
    """What a shard's rows were computed from; none where there is no such shard, or it is damaged."""
    try:
        whole = pq.read_table(_shard(slug, model, number, of), page_checksum_verification=True)
        return json.loads(whole.schema.metadata[b"PANDAS_ATTRS"])["inputs"]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def load_shards(slug: str, model: str, of: int) -> pd.DataFrame:
    """The rows of all shards, in the order in which one run measures them. Raises ``InputError`` if one is missing.

    Rows of untrained twins (column ``seed``) come twin by twin.
    """
    paths_of_shards = [_shard(slug, model, number, of) for number in range(1, of + 1)]
    if missing := [path.name for path in paths_of_shards if not path.exists()]:
        raise InputError(f"no {missing[0]} of {model}: measure it with ./run_all.sh --shards {of}")
    parts = [part for part in map(_read, paths_of_shards) if len(part)]
    rows = pd.concat(parts, ignore_index=True)
    return rows.sort_values("seed", kind="stable", ignore_index=True) if "seed" in rows else rows


def write(file: Path, table: pd.DataFrame) -> None:
    """Write a CSV with 5 significant digits, complete or not at all."""
    with files.writing(file) as path:
        table.to_csv(path, index=False, float_format=SIGNIFICANT, lineterminator="\n")


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its floating-point columns at the digits that are written."""
    floats = table.select_dtypes("float")
    return table.assign(**{column: [float(SIGNIFICANT % value) for value in floats[column]] for column in floats})


def with_keys(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """Add the model's name and each row's relative depth, keys first.

    Depth runs from 0 to 1: layer / (n_layers - 1) for blocks, layer / n_layers for lens rows, which is
    in both cases the layer over the largest layer of the table; 0 in a table of one layer. A table that
    is not by layer gets no depth, and one that has its own keeps it.
    """
    keyed = table.assign(model=model)
    if "layer" in table and "depth" not in table:
        keyed["depth"] = table["layer"] / max(1, int(table["layer"].max()))
    leading = [column for column in LEADING_COLUMNS if column in keyed]
    return keyed[[*leading, *(column for column in keyed if column not in leading)]]


def _shard(slug: str, model: str, number: int, of: int) -> Path:
    return paths.results(model) / "shards" / f"{slug}-{number}of{of}.parquet"


def _read(file: Path) -> pd.DataFrame:
    with refused(f"{file} is damaged: remove it, and ./run_all.sh makes it again"):
        return pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
