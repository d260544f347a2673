"""Save and load tidy tables: what a figure shows, row by row, and where it came from.

``<slug>.csv`` holds one row per layer (and intervention) with 5 significant digits, which two machines agree on;
``<slug>.<detail>.parquet`` the rows it was computed from (sequences, or neurons), with the run's
parameters as metadata. Files appear complete or not at all.
"""

from pathlib import Path

import pandas as pd

from helpers import files, paths

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
    """A table as ``save`` wrote it; none where the experiment has not been run."""
    file = files.reading(paths.results(model) / f"{slug}.csv")
    return pd.read_csv(file) if file.exists() else None


def load_details(slug: str, model: str, detail: str = "sequences") -> pd.DataFrame | None:
    """The rows that a table was computed from; none where the experiment has not been run, or keeps none."""
    file = files.reading(paths.results(model) / f"{slug}.{detail}.parquet")
    return pd.read_parquet(file) if file.exists() else None


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
