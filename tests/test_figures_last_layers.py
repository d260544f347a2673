"""What is drawn of the last layers is what the tables say, for models of any number of layers."""

import numpy as np
import pandas as pd
import pytest

from helpers import figures
from helpers.beyond import calibration, layer_repeats, norm_channel, stand_ins

pytestmark = pytest.mark.usefixtures("drawing")
N_LAYERS = [1, 2, 12]


def filled(keys: pd.DataFrame, *columns: str, seed: int = 0) -> pd.DataFrame:
    """Random measures with intervals around them."""
    generator = np.random.default_rng(seed)
    table = keys.assign(model="toy")
    for column in columns:
        table[column] = generator.uniform(0.1, 0.9, len(keys))
        table[f"{column}_low"], table[f"{column}_high"] = table[column] - 0.1, table[column] + 0.1
    return table


def repeats(n_layers: int = 12, seed: int = 0) -> pd.DataFrame:
    keys = [
        (length, layer, layer / max(1, n_layers - 1))
        for length in layer_repeats.block_lengths(n_layers)
        for layer in range(n_layers - length + 1)
    ]
    columns = pd.DataFrame(keys, columns=["length", "layer", "depth"])
    return filled(columns, "entropy_change_bits", "loss_change_nats", "top1_agreement", seed=seed)


def replaced(n_layers: int = 12) -> pd.DataFrame:
    kinds = (stand_ins.DROP, stand_ins.TEMPERATURE, stand_ins.AFFINE)
    keys = [(layer, layer / max(1, n_layers - 1), kind) for layer in range(n_layers) for kind in kinds]
    columns = pd.DataFrame(keys, columns=["layer", "depth", "replacement"])
    return filled(columns, "kl_nats", "kl_remaining", "top1_agreement")


def calibrated(n_layers: int = 12, seed: int = 0) -> pd.DataFrame:
    layers = pd.DataFrame({"layer": range(n_layers + 1), "depth": np.arange(n_layers + 1) / n_layers})
    return filled(layers, "calibration_error", "overconfidence", "error_if_calibrated", seed=seed)


def silenced() -> pd.DataFrame:
    table = filled(pd.DataFrame({"kind": ["entropy", "prediction", "suppression"]}), *norm_channel.CHANGES)
    for name in norm_channel.CHANGES:
        table[f"{name}_random_smallest"], table[f"{name}_random_largest"] = 0.2, 0.3
    return table


def drawn(ax, colour) -> list[list[float]]:
    return [list(line.get_ydata()) for line in ax.lines if line.get_color() == colour]


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_repeats_have_one_line_a_length_and_the_twin_in_grey(n_layers):
    table, control = repeats(n_layers), repeats(n_layers, seed=1)
    figure = figures.last_layers(table, control)
    figures.save(figure, layer_repeats.SLUG, "toy")
    columns = ("entropy_change_bits", "loss_change_nats", "top1_agreement")
    for ax, column in zip(figure.axes, columns, strict=True):
        for length, colour in zip(table["length"].unique(), (figures.BLUE, figures.ORANGE), strict=False):
            assert drawn(ax, colour) == [table.loc[table["length"] == length, column].tolist()]
        assert len(drawn(ax, figures.GREY)) == table["length"].nunique()


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_replacements_have_a_line_each_and_the_share_none_for_a_block_left_out(n_layers):
    table = replaced(n_layers)
    figure = figures.last_layers_stand_ins(table)
    figures.save(figure, layer_repeats.SLUG, "toy", stand_ins.WHAT)
    kl, share, _ = figure.axes
    for kind, colour in zip(
        ("drop", "temperature", "affine"), (figures.BLUE, figures.ORANGE, figures.GREEN), strict=True
    ):
        rows = table[table["replacement"] == kind]
        assert drawn(kl, colour) == [rows["kl_nats"].tolist()]
        assert drawn(share, colour) == ([] if kind == "drop" else [rows["kl_remaining"].tolist()])


def test_a_block_that_is_not_missed_can_be_drawn_on_a_logarithmic_axis():
    figure = figures.last_layers_stand_ins(replaced().assign(kl_nats=0.0, kl_nats_low=0.0, kl_remaining=np.nan))
    figures.save(figure, layer_repeats.SLUG, "toy", stand_ins.WHAT)
    assert min(figure.axes[0].lines[0].get_ydata()) > 0


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_calibration_shows_error_sign_and_what_chance_would_give(n_layers):
    table, control = calibrated(n_layers), calibrated(n_layers, seed=1)
    figure = figures.last_layers_calibration(table, control)
    figures.save(figure, layer_repeats.SLUG, "toy", calibration.WHAT)
    error, sign = figure.axes
    assert drawn(error, figures.BLUE) == [table["calibration_error"].tolist()]
    assert table["error_if_calibrated"].tolist() in drawn(error, "k")
    assert drawn(sign, figures.BLUE) == [table["overconfidence"].tolist()]
    assert drawn(sign, figures.GREY) == [control["overconfidence"].tolist()]


def test_neurons_have_three_dots_a_kind():
    table = silenced()
    figure = figures.last_layers_neurons(table)
    figures.save(figure, layer_repeats.SLUG, "toy", norm_channel.WHAT)
    for ax, column in zip(figure.axes, ("entropy_change_bits", "loss_change_nats"), strict=True):
        heights = [list(line.get_ydata()) for line in ax.lines]
        assert all(table[f"{column}_{way}"].tolist() in heights for way in ("free", "frozen", "by_norm"))
        assert [tick.get_text() for tick in ax.get_xticklabels()] == table["kind"].tolist()
