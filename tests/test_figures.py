"""The figures of the paper's five experiments show the numbers of their tables."""

from itertools import chain, pairwise

import numpy as np
import pandas as pd
import pytest

from helpers import figures
from helpers.figures.layout import MIDDLE_LABEL

pytestmark = pytest.mark.usefixtures("drawing")

PANELS = {  # figure: the columns drawn in each panel
    "layer_lesion": [["relative_accuracy"], ["accuracy_ratio"], ["kl_nats"]],
    "local_attention": [["attention_per_offset"], ["attention_share", "attention_share_no_bos"]],
    "local_attention_distance": [[f"attention_share_{distance}" for distance in (16, 8, 4, 2, 1)]],
    "logit_lens": [["kl_nats"], ["entropy_bits"]],
    "logit_lens_superseded": [["kl_nats_final_scale"], ["entropy_bits_final_scale"]],
    "logit_lens_tuned": [["kl_nats", "kl_nats_tuned"], ["entropy_bits", "entropy_bits_tuned"]],
    "logit_lens_flips": [["top1_agreement", "accuracy", "top1_probability"], ["wrong_to_right", "right_to_wrong"]],
    "prediction_suppression_neurons": [["n_prediction", "n_suppression"]],
    "mlp_norm": [["mlp_norm", "attention_norm", "residual_norm"], ["mlp_to_residual", "attention_to_residual"]],
}


def table_for(name: str, n_layers: int = 5, model: str = "toy", seed: int = 0) -> pd.DataFrame:
    """A table with random numbers between 0.2 and 0.8, and intervals around them."""
    layers = pd.DataFrame({"model": model, "layer": range(n_layers)})
    if name == "layer_lesion":
        layers = pd.concat([layers.assign(intervention="drop"), layers[:-1].assign(intervention="swap")])
        layers["kl_noise_nats"] = 0.0
    layers["depth"] = layers["layer"] / max(1, n_layers - 1)
    generator = np.random.default_rng(seed)
    for column in chain.from_iterable(PANELS[name]):
        mean = generator.uniform(0.2, 0.8, len(layers))
        layers[column] = mean
        if name != "prediction_suppression_neurons":
            layers[f"{column}_low"], layers[f"{column}_high"] = mean - 0.1, mean + 0.1
        else:
            layers["n_neurons"] = 1  # a count of one neuron is its share
    return layers.reset_index(drop=True)


def curves(table: pd.DataFrame, column: str) -> list[tuple[list[float], list[float]]]:
    """x and y of each line that should show this column."""
    groups = [rows for _, rows in table.groupby("intervention")] if "intervention" in table else [table]
    return [(rows["depth"].tolist(), rows[column].tolist()) for rows in groups]


def labels(figure) -> list[str]:
    """All legend entries of a figure, legend by legend."""
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def lines(ax, grey: bool) -> list[tuple[list[float], list[float]]]:
    chosen = [line for line in ax.lines if (line.get_color() == figures.GREY) == grey]
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in chosen]


@pytest.mark.parametrize("name", PANELS)
def test_the_lines_are_the_tables_columns(name):
    table = table_for(name)
    figure = getattr(figures, name)(table)
    for ax, columns in zip(figure.axes, PANELS[name], strict=True):
        assert lines(ax, grey=False) == [curve for column in columns for curve in curves(table, column)]
        assert lines(ax, grey=True) == []


@pytest.mark.parametrize("name", PANELS)
def test_the_untrained_twin_is_drawn_in_grey(name):
    table, twin = table_for(name), table_for(name, seed=1)
    figure = getattr(figures, name)(table, twin)
    for ax, columns in zip(figure.axes, PANELS[name], strict=True):
        assert lines(ax, grey=True) == [curve for column in columns for curve in curves(twin, column)]
        assert lines(ax, grey=False) == [curve for column in columns for curve in curves(table, column)]


@pytest.mark.parametrize("name", PANELS)
def test_bands_are_the_intervals(name):
    table = table_for(name)
    figure = getattr(figures, name)(table)
    for ax, columns in zip(figure.axes, PANELS[name], strict=True):
        ends = [
            {y for low, high in zip(lows, highs, strict=True) for y in (low, high)}
            for column in columns
            if f"{column}_low" in table
            for (_, lows), (_, highs) in zip(
                curves(table, f"{column}_low"), curves(table, f"{column}_high"), strict=True
            )
        ]
        bands = [set(band.get_paths()[0].vertices[:, 1]) for band in ax.collections]
        assert bands == ends


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("name", PANELS)
def test_a_model_of_one_layer_or_two_can_be_drawn(name, n_layers):
    table = table_for(name, n_layers)
    figures.save(getattr(figures, name)(table, table_for(name, n_layers, seed=1)), name, "toy")


@pytest.mark.parametrize("name", PANELS)
def test_lines_run_by_depth_whatever_the_order_of_rows(name):
    table = table_for(name)
    ordered, shuffled = getattr(figures, name)(table), getattr(figures, name)(table.sample(frac=1, random_state=0))
    for ax, same_ax in zip(ordered.axes, shuffled.axes, strict=True):
        assert lines(ax, grey=False) == lines(same_ax, grey=False)


@pytest.mark.parametrize("name", PANELS)
def test_every_axis_is_labelled_and_every_figure_names_its_model(name):
    figure = getattr(figures, name)(table_for(name, model="some-model"))
    assert figure.get_suptitle().startswith("some-model")
    for ax in figure.axes:
        assert "depth" in ax.get_xlabel()
        assert ax.get_ylabel()


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_with_several_lines_tells_them_apart(name):
    figure = getattr(figures, name)(table_for(name), table_for(name, seed=1))
    for ax in figure.axes:
        colours = [line.get_color() for line in ax.lines if line.get_color() != figures.GREY]
        assert len(set(colours)) == len(colours)
        assert len({line.get_marker() for line in ax.lines if line.get_color() in colours}) == len(colours)
        named = [line.get_label() for line in ax.lines]
        one_for_all = name == "local_attention_distance"  # the twin's lines lie in the order of the others
        assert len({*named}) == len(named) or one_for_all
        assert {label for label in named if not label.startswith("_")} <= set(labels(figure))


def test_an_unknown_ratio_leaves_a_gap_not_a_wrong_point():
    """A twin that is never right has no ratio of accuracies at all."""
    table, twin = table_for("layer_lesion"), table_for("layer_lesion", seed=1)
    twin[["accuracy_ratio", "accuracy_ratio_low", "accuracy_ratio_high"]] = np.nan
    figure = figures.layer_lesion(table, twin)
    assert lines(figure.axes[1], grey=True) == [([], []), ([], [])]
    figures.save(figure, "layer_lesion", "toy")


def test_neurons_are_drawn_as_shares_of_their_own_layer():
    """Also the twins', whose counts have intervals, and layers of unlike widths."""
    table = pd.DataFrame({"model": "toy", "layer": [0, 1], "depth": [0, 1], "n_neurons": [10, 20]})
    table = table.assign(n_prediction=[1, 4], n_suppression=[0, 5])
    twin = table.assign(n_prediction=[5, 10], n_prediction_low=[4, 8], n_prediction_high=[6, 12])
    (ax,) = figures.prediction_suppression_neurons(table, twin).axes
    assert [shares for _, shares in lines(ax, grey=False)] == [[0.1, 0.2], [0, 0.25]]
    assert [shares for _, shares in lines(ax, grey=True)] == [[0.5, 0.5], [0, 0.25]]
    (band,) = ax.collections
    assert set(band.get_paths()[0].vertices[:, 1]) == {0.4, 0.6}
    assert "share" in ax.get_ylabel()
    assert ax.yaxis.get_major_formatter()(0.25, 0).endswith("%")


@pytest.mark.parametrize("control", [None, "untrained"])
def test_every_neuron_is_a_point_of_its_own(control):
    generator = np.random.default_rng(0)
    neurons = pd.DataFrame(
        {
            "layer": np.repeat(range(3), 50),
            "kurtosis": generator.uniform(2, 60, 150),
            "skew": generator.normal(size=150),
        }
    )
    figure = figures.neuron_kurtosis(neurons, "toy", 3.7, neurons if control else None)
    (ax,) = figure.axes
    predicting, suppressing = (points.get_offsets() for points in ax.collections[-2:])
    assert predicting[:, 1].tolist() == neurons.loc[neurons["skew"] > 0, "kurtosis"].tolist()
    assert suppressing[:, 1].tolist() == neurons.loc[neurons["skew"] < 0, "kurtosis"].tolist()
    assert (predicting[:, 0] * 2).round().tolist() == neurons.loc[neurons["skew"] > 0, "layer"].tolist()
    heights = {line.get_ydata()[0] for line in ax.lines if len(line.get_ydata())}
    assert heights == {10.0, 3.7}
    figures.save(figure, "prediction_suppression_neurons", "toy", "kurtosis")


def test_kls_below_the_rounding_noise_are_greyed_and_others_are_not():
    table = table_for("layer_lesion")
    clear = figures.layer_lesion(table).axes[2]
    assert "below the rounding noise" not in labels(clear.figure)
    noisy = figures.layer_lesion(table.assign(kl_noise_nats=0.5)).axes[2]
    assert len(noisy.patches) == len(clear.patches) + 1
    (span,) = [patch for patch in noisy.patches if patch.get_label() != MIDDLE_LABEL]
    assert span.get_extents().transformed(noisy.transData.inverted()).y1 == pytest.approx(0.5)
    assert span.get_zorder() > max(line.get_zorder() for line in noisy.lines if line.get_marker() in "os")
    assert labels(noisy.figure).count("below the rounding noise") == 1
    assert noisy.get_ylim()[0] == pytest.approx(clear.get_ylim()[0])


def test_distances_are_told_apart_by_marker_and_in_grey_and_one_without_queries_is_left_out():
    table, twin = table_for("local_attention_distance"), table_for("local_attention_distance", seed=1)
    for each in (table, twin):
        each[[f"attention_share_16{end}" for end in ("", "_low", "_high")]] = np.nan
    (ax,) = figures.local_attention_distance(table, twin).axes
    drawn = [line for line in ax.lines if line.get_color() != figures.GREY]
    assert len({line.get_marker() for line in drawn}) == len(drawn) == 4
    lightness = [np.dot(line.get_color(), (0.3, 0.59, 0.11)) for line in drawn]
    assert all(near - far > 0.08 for far, near in pairwise(lightness))
    assert labels(ax.figure) == ["previous 8", "previous 4", "previous 2", "previous 1", "untrained"]


def test_the_lens_stands_beside_the_neurons_in_a_panel_of_its_own():
    """As in the paper's figure 8; without a lens there is no such panel."""
    name = "prediction_suppression_neurons"
    table, lens = table_for(name), table_for("logit_lens", n_layers=6, seed=1)
    neurons, beside = figures.prediction_suppression_neurons(table, lens=lens).axes
    assert lines(neurons, grey=False) == [curve for column in PANELS[name][0] for curve in curves(table, column)]
    assert lines(beside, grey=False) == curves(lens, "kl_nats")
    assert len(figures.prediction_suppression_neurons(table).axes) == 1


@pytest.mark.parametrize("beats, n_drawn", [(True, 2), (False, 0)])
def test_what_is_left_of_accuracy_is_not_drawn_for_a_twin_that_predicts_nothing(beats, n_drawn):
    known = {"accuracy_intact": 0.2 if beats else 0.05, "accuracy_commonest": 0.1}
    figure = figures.layer_lesion(table_for("layer_lesion"), table_for("layer_lesion", seed=1).assign(**known))
    drawn = [xs for xs, _ in lines(figure.axes[1], grey=True) if len(xs)]
    assert len(drawn) == n_drawn
