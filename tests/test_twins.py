"""Three twins are three draws, and their band holds all three."""

import numpy as np
import pandas as pd
import pytest

from helpers import models, neurons, stats
from helpers.judging import twins


def kurtosis(bridge) -> pd.DataFrame:
    rows = neurons.moments(bridge)
    return rows.rename(columns={"neuron": "sequence"})


@pytest.fixture(scope="module")
def rows(checkpoints):
    return twins.measure(str(checkpoints["gpt2"]), kurtosis, seed=5)


def test_every_seed_is_a_model_of_its_own(rows, checkpoints):
    assert sorted(rows["seed"].unique()) == [5, 6, 7]
    alone = kurtosis(models.load(f"{checkpoints['gpt2']}@untrained", seed=6))
    assert rows[rows["seed"] == 6]["kurtosis"].tolist() == alone["kurtosis"].tolist()
    assert rows.groupby("seed")["kurtosis"].mean().nunique() == 3


def test_the_band_goes_from_the_smallest_twin_to_the_largest(rows):
    table = twins.table(rows).set_index("layer")
    means = rows.groupby(["layer", "seed"])["kurtosis"].mean().unstack()
    assert table["kurtosis"].tolist() == pytest.approx(means.mean(axis=1).tolist())
    assert table["kurtosis_low"].tolist() == pytest.approx(means.min(axis=1).tolist())
    assert table["kurtosis_high"].tolist() == pytest.approx(means.max(axis=1).tolist())
    assert (table["kurtosis_low"] < table["kurtosis_high"]).all()


def test_interventions_stay_apart_and_ratios_are_taken_in_each_twin():
    index = pd.MultiIndex.from_product([[0, 1, 2], range(4), [0, 1], ["drop", "swap"]])
    made = pd.DataFrame(index=index).rename_axis(["seed", "sequence", "layer", "intervention"]).reset_index()
    made["a"] = np.where(made["intervention"] == "drop", made["seed"] + 1.0, 10.0)
    made["b"] = 2.0
    table = twins.table(made, lambda part: stats.summarise(part, ratios={"r": ("a", "b")}))
    drop = table[(table["layer"] == 1) & (table["intervention"] == "drop")].iloc[0]
    assert drop[["a", "a_low", "a_high", "r", "r_low", "r_high"]].tolist() == [2, 1, 3, 1, 0.5, 1.5]
    assert len(table) == 4
