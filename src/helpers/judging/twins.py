"""The untrained twin: the same architecture with fresh weights, three times, each from another seed.

What the twins show as well is no evidence of learning. One draw of weights would leave open whether another draw
would show it too.
"""

from collections.abc import Callable, Sequence

import pandas as pd
from transformer_lens.model_bridge import TransformerBridge

from helpers import models, stats
from helpers.engine import sources

SEEDS = 3


def name(model: str) -> str:
    """The name under which a model's twins are loaded and filed."""
    return f"{model}{sources.UNTRAINED}"


def measure(
    model: str,
    measure: Callable[[TransformerBridge], pd.DataFrame],
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
) -> pd.DataFrame:
    """The rows that ``measure`` makes of each twin, one twin in memory at a time; column ``seed`` tells them apart."""

    def of_twin(seed: int) -> pd.DataFrame:
        return measure(models.load(name(model), device=device, dtype=dtype, seed=seed)).assign(seed=seed)

    return pd.concat((of_twin(each) for each in range(seed, seed + SEEDS)), ignore_index=True)


def table(
    rows: pd.DataFrame,
    summarise: Callable[[pd.DataFrame], pd.DataFrame] = stats.summarise,
    keys: Sequence[str] = stats.LAYER_KEYS,
) -> pd.DataFrame:
    """One table of all twins: means over them, ``_low`` and ``_high`` the smallest and largest of them.

    ``summarise`` makes the table of one twin from its rows; ``keys`` tell that table's rows apart.
    """
    each = [summarise(part.drop(columns="seed")) for _, part in rows.groupby("seed")]
    keys = [key for key in keys if key in each[0]]
    measured = [column for column in each[0] if column not in keys and not column.endswith(("_low", "_high"))]
    grouped = pd.concat(each).groupby(keys, sort=False)[measured]
    bounds = {f"_{bound}": getattr(grouped, pick)() for bound, pick in (("low", "min"), ("high", "max"))}
    columns = {column: grouped.mean()[column] for column in measured}
    columns |= {f"{column}{suffix}": values[column] for column in measured for suffix, values in bounds.items()}
    return pd.DataFrame(columns).reset_index()
