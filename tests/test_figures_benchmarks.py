"""What is drawn of benchmarks is what the table says, whatever was measured."""

import numpy as np
import pandas as pd
import pytest

from helpers import figures
from helpers.beyond import benchmarks, orders

pytestmark = pytest.mark.usefixtures("drawing")


def measured(*tasks: str, interventions: tuple[str, ...] = ("drop", "swap"), n_layers: int = 6) -> pd.DataFrame:
    """A table with random accuracies and errors."""
    lesions = orders.lesions(n_layers, interventions)
    keys = [(each.intervention, each.layer, task) for each in lesions for task in tasks or benchmarks.TASKS]
    table = pd.DataFrame(keys, columns=["intervention", "layer", "task"]).assign(model="toy")
    generator = np.random.default_rng(0)
    table["accuracy"] = generator.uniform(0.2, 0.8, len(table))
    table["accuracy_stderr"] = generator.uniform(0.01, 0.03, len(table))
    return table.assign(depth=table["layer"] / max(1, n_layers - 1))


@pytest.mark.parametrize("n_layers", [1, 2, 12])
@pytest.mark.parametrize("interventions", [("drop", "swap"), ("swap",), ("drop", "repeat_1"), ()])
def test_each_task_has_a_panel_with_a_line_for_every_intervention_and_the_intact_model(n_layers, interventions):
    table = measured("one", "other", interventions=interventions, n_layers=n_layers)
    for ax, task in zip(figures.benchmarks(table).axes, ["one", "other"], strict=True):
        rows = table[table["task"] == task]
        lines = {line.get_label(): line.get_ydata() for line in ax.lines}
        assert ax.get_ylabel() == f"{task}: accuracy"
        assert set(lines["intact"]) == set(rows[rows["intervention"] == "intact"]["accuracy"])
        shown = [name for name in interventions if (rows["intervention"] == name).any()]
        assert set(lines) == {"intact", *(name.replace("_", " ") for name in shown)}
        for name in shown:
            expected = rows[rows["intervention"] == name].sort_values("depth")["accuracy"]
            assert lines[name.replace("_", " ")].tolist() == expected.tolist()


def test_a_band_is_one_standard_error():
    table = measured("one", interventions=("drop",), n_layers=3)
    (band,) = figures.benchmarks(table).axes[0].collections
    heights = {(x.item(), y.item()) for x, y in band.get_paths()[0].vertices.round(6)}
    for row in table.dropna(subset="layer").itertuples():
        assert (row.depth, round(row.accuracy - row.accuracy_stderr, 6)) in heights
        assert (row.depth, round(row.accuracy + row.accuracy_stderr, 6)) in heights
