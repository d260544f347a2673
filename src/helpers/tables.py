"""Save and load tidy tables: what a figure shows, row by row, and where it came from.

``<slug>.csv`` holds one row per layer (and intervention) with 6 significant digits;
``<slug>.<detail>.parquet`` the rows it was computed from (sequences, or neurons), with the run's
parameters as metadata. Files appear complete or not at all.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from helpers import paths

KEYS = ["model", "layer", "depth", "intervention"]


def save(
    slug: str,
    model: str,
    table: pd.DataFrame,
    details: pd.DataFrame | None = None,
    detail: str = "sequences",
    **provenance: str | int | float,
) -> pd.DataFrame:
    """Write the table of one experiment on one model, and return it as written (model and depth added).

    ``details`` go to ``<slug>.<detail>.parquet`` with ``provenance``, the run's parameters, as metadata.
    """
    folder = paths.results(model)
    table = with_keys(table, paths.model_folder(model))
    write(folder / f"{slug}.csv", table)
    if details is not None:
        details.attrs = {"slug": slug, "model": paths.model_folder(model), **provenance}
        with writing(folder / f"{slug}.{detail}.parquet") as path:
            details.to_parquet(path, index=False)
    return table


def load(slug: str, model: str) -> pd.DataFrame:
    """A table as ``save`` wrote it. Raises ``FileNotFoundError`` where the experiment has not been run."""
    return pd.read_csv(paths.results(model) / f"{slug}.csv")


def write(file: Path, table: pd.DataFrame) -> None:
    """Write a CSV with 6 significant digits, complete or not at all."""
    with writing(file) as path:
        table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def with_keys(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """Add the model's name and each row's relative depth, keys first.

    Depth runs from 0 to 1: layer / (n_layers - 1) for blocks, layer / n_layers for lens rows, which is
    in both cases the layer over the largest layer of the table; 0 in a table of one layer. A table that
    is not by layer gets no depth, and one that has its own keeps it.
    """
    keyed = table.assign(model=model)
    if "layer" in table and "depth" not in table:
        keyed["depth"] = table["layer"] / max(1, int(table["layer"].max()))
    keys = [key for key in KEYS if key in keyed]
    return keyed[[*keys, *(column for column in keyed if column not in keys)]]


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
