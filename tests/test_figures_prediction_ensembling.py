"""The figures of prediction ensembling show the numbers of their tables, also where there are none."""

import numpy as np
import pandas as pd
import pytest

from helpers import figures

pytestmark = pytest.mark.usefixtures("drawing")
SIZES = [1, 2, 4]


def probed(seed: int = 0) -> pd.DataFrame:
    """Two classes with random numbers, and one that was skipped."""
    keys = [(kind, size) for kind in ("top", "random") for size in SIZES] + [("layer", 50), ("model", 0)]
    rows = [{"class": name, "kind": kind, "n_neurons": size} for name in ("-ing", "-ed") for kind, size in keys]
    table = pd.DataFrame([*rows, {"class": "rare", "kind": "skipped", "n_neurons": 0}])
    table["auc"] = np.random.default_rng(seed).uniform(0.6, 0.9, len(table))
    table.loc[table["kind"] == "skipped", "auc"] = np.nan
    ends = {"auc_low": -0.02, "auc_high": 0.03, "auc_smallest": -0.06, "auc_largest": 0.07}
    return table.assign(model="toy", **{end: table["auc"] + shift for end, shift in ends.items()})


def changed() -> pd.DataFrame:
    table = pd.DataFrame({"kind": np.repeat(["prediction", "suppression"], 3), "n_neurons": SIZES * 2, "model": "toy"})
    generator = np.random.default_rng(1)
    for column in ("loss_change_nats", "entropy_change_bits"):
        for middle, low, high in (("", "_low", "_high"), ("_random", "_random_smallest", "_random_largest")):
            values = generator.normal(size=6)
            table[column + middle], table[column + low], table[column + high] = values, values - 0.2, values + 0.4
    return table


def test_each_class_has_its_panel_and_each_kind_its_line():
    table, twin = probed(), probed(seed=1)
    figure = figures.prediction_ensembling(table, twin)
    for ax, name in zip(figure.axes, ("-ing", "-ed"), strict=False):
        assert ax.get_title() == name
        lines = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
        own, control = (rows[rows["class"] == name].groupby("kind")["auc"].apply(list) for rows in (table, twin))
        assert lines["the neurons that speak for it"] == own["top"]
        assert lines["random neurons (range of draws)"] == own["random"]
        assert lines["all neurons of a layer"] == own["layer"] * 2
        assert lines["the model's own probability"] == own["model"] * 2
        assert lines["untrained"] == control["top"]
        assert lines["chance"] == [0.5, 0.5]


def test_bands_are_intervals_and_those_of_random_neurons_the_range_of_draws():
    table = probed()
    ax = figures.prediction_ensembling(table).axes[0]
    top, random = (set(band.get_paths()[0].vertices[:, 1]) for band in ax.collections)
    rows = table[table["class"] == "-ing"].groupby("kind")
    assert top == {*rows.get_group("top")["auc_low"], *rows.get_group("top")["auc_high"]}
    assert random == {*rows.get_group("random")["auc_smallest"], *rows.get_group("random")["auc_largest"]}


def test_a_class_that_was_skipped_says_so():
    ing, _, rare = figures.prediction_ensembling(probed(), probed(seed=1)).axes
    assert [text.get_text() for text in rare.texts] == ["too few in this text"]
    assert [line.get_label() for line in rare.get_lines()] == ["chance"] and not ing.texts


def test_a_text_without_any_class_can_be_drawn():
    table = probed()
    figure = figures.prediction_ensembling(table[table["kind"] == "skipped"])
    figures.save(figure, "prediction_ensembling", "toy")


def test_ablations_are_drawn_with_both_kinds_of_bars():
    table = changed()
    figure = figures.prediction_ensembling_ablation(table)
    for ax, column in zip(figure.axes, ("loss_change_nats", "entropy_change_bits"), strict=True):
        drawn = [(list(bars[0].get_ydata()), bars[2][0].get_segments()) for bars in ax.containers]
        expected = [(kind, middle) for kind in ("prediction", "suppression") for middle in ("", "_random")]
        for (values, segments), (kind, middle) in zip(drawn, expected, strict=True):
            rows = table[table["kind"] == kind]
            assert values == rows[column + middle].tolist()
            ends = [(low[1], high[1]) for low, high in segments]
            suffixes = ("_low", "_high") if middle == "" else ("_random_smallest", "_random_largest")
            assert np.allclose(ends, rows[[column + suffix for suffix in suffixes]])
    assert figure.get_suptitle().startswith("toy")
    figures.save(figure, "prediction_ensembling", "toy", "ablation")


def asked(seed: int = 0) -> pd.DataFrame:
    keys = [(kind, how, size) for kind in KINDS for how in ("best", "vote", "random") for size in SIZES]
    keys += [(kind, "single", 1) for kind in KINDS] * 5 + [("model", "probability", 0), ("model", "guess", 0)]
    table = pd.DataFrame(keys, columns=["kind", "how", "n_neurons"]).assign(model="toy", **{"class": "-ing"})
    table["accuracy"] = np.random.default_rng(seed).uniform(0.6, 0.9, len(table))
    ends = {"low": -0.02, "high": 0.03, "smallest": -0.06, "largest": 0.07}
    return table.assign(**{f"accuracy_{end}": table["accuracy"] + shift for end, shift in ends.items()})


KINDS = ("prediction", "suppression")


def test_prediction_and_suppression_neurons_have_a_panel_each():
    table, twin = asked(), asked(seed=1)
    figure = figures.prediction_ensembling_ing(table, twin)
    for ax, kind in zip(figure.axes, KINDS, strict=True):
        lines = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
        own, control = (rows[rows["kind"] == kind].groupby("how")["accuracy"].apply(list) for rows in (table, twin))
        assert lines[f"best k {kind} neurons"] == own["best"]
        assert lines["vote of the first k, no probe"] == own["vote"]
        assert lines["best k random, matched (range of draws)"] == own["random"]
        assert lines["each alone"] == own["single"] and len(own["single"]) == 5
        assert lines["untrained"] == control["best"]
        levels = table.set_index("how")["accuracy"]
        assert lines["the model, by probability"] == [levels["probability"]] * 2
        assert lines["the model, by best guess"] == [levels["guess"]] * 2


def test_a_text_with_too_few_verbs_says_so():
    columns = {"class": "capital", "kind": "skipped", "how": "", "n_neurons": 0, "accuracy": np.nan, "model": "toy"}
    figure = figures.prediction_ensembling_ing(pd.DataFrame([columns]))
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [["too few in this text"]] * 2
    figures.save(figure, "prediction_ensembling", "toy", "ing")
