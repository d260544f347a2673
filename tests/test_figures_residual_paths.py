"""The figures of deleted layers, similarity and self-repair show the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest

from helpers import figures
from helpers.beyond import residual_paths

pytestmark = pytest.mark.usefixtures("drawing")
N_LAYERS = (1, 2, 5)


def filled(keys: pd.DataFrame, *columns: str, seed: int = 0) -> pd.DataFrame:
    """Random means between 0.2 and 0.8 with intervals, under the given keys."""
    generator, table = np.random.default_rng(seed), keys.assign(model="toy")
    for column in columns:
        table[column] = generator.uniform(0.2, 0.8, len(keys))
        table[f"{column}_low"], table[f"{column}_high"] = table[column] - 0.1, table[column] + 0.1
    return table


def runs(n_layers: int, seed: int = 0) -> pd.DataFrame:
    keys = residual_paths.contiguous_runs(n_layers)[["start", "length"]]
    return filled(keys, "accuracy_ratio", "top1_agreement", "kl_nats", seed=seed)


def random(n_layers: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    draws = filled(residual_paths.random_deletions(n_layers)[["k", "draw", "first_kept"]], "accuracy_ratio")
    counts = draws[["k"]].drop_duplicates(ignore_index=True)
    measures = ("accuracy_ratio", "top1_agreement", "accuracy_commonest", "accuracy_intact")
    return filled(counts, *measures, seed=seed), draws


def pairs(n_layers: int, seed: int = 0) -> pd.DataFrame:
    rows = [
        (kind, a, b)
        for kind, size in (("residual", n_layers + 1), ("written", n_layers), ("last_token", n_layers + 1))
        for a in range(size)
        for b in range(size)
    ]
    keys = pd.DataFrame(rows, columns=["kind", "layer_a", "layer_b"])
    return keys.assign(model="toy", cka=np.random.default_rng(seed).uniform(0, 1, len(keys)))


def cells(ax) -> np.ma.MaskedArray:
    (mesh,) = ax.collections
    return mesh.get_array()


def drawn(ax, colour) -> list[list[float]]:
    return [list(line.get_ydata()) for line in ax.lines if line.get_color() == colour]


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_a_triangle_has_start_to_the_right_and_length_upwards(n_layers):
    table, control = runs(n_layers), runs(n_layers, seed=1)
    figure = figures.deleted_runs(table, control)
    shown = [(table, "kl_nats"), (table, "top1_agreement"), (control, "top1_agreement")]
    for ax, (source, column) in zip(figure.axes, shown, strict=False):
        values = cells(ax)
        for row in source.to_dict("records"):
            assert values[row["length"] - 1, row["start"]] == row[column]
        assert values.count() == len(source)


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_random_deletions_show_every_draw_and_both_means(n_layers):
    table, (summary, draws), (control, _) = runs(n_layers), random(n_layers), random(n_layers, seed=1)
    figure = figures.residual_paths(table, summary, draws, control)
    figures.save(figure, residual_paths.SLUG, "toy")
    _, dots, guesses = figure.axes[:3]
    assert drawn(dots, "black") == [summary["accuracy_ratio"].tolist()]
    assert drawn(guesses, figures.BLUE) == [summary["top1_agreement"].tolist()]
    assert drawn(guesses, figures.GREY) == [control["top1_agreement"].tolist()]
    heights = [set(points.get_offsets()[:, 1]) for points in dots.collections if len(points.get_offsets()) > 1]
    for kept in (True, False):
        expected = set(draws.loc[draws["first_kept"] == kept, "accuracy_ratio"])
        assert not expected or expected in heights


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_similarity_has_streams_writes_and_last_tokens_and_twins_beside(n_layers):
    table, control = pairs(n_layers), pairs(n_layers, seed=1)
    figure = figures.layer_similarity(table, control)
    figures.save(figure, residual_paths.SLUG, "toy", what="cka")
    shown = [(rows, kind) for kind in ("residual", "written", "last_token") for rows in (table, control)]
    for ax, (source, kind) in zip(figure.axes, shown, strict=False):
        for row in source[source["kind"] == kind].to_dict("records"):
            assert cells(ax)[row["layer_a"], row["layer_b"]] == row["cka"]


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_self_repair_shows_effects_left_and_the_balance_right(n_layers):
    measures = [f"{name}_nats" for name in ("direct_effect", "total_effect", "self_repair")]
    measures += ["repair_by_blocks_nats", "repair_by_norm_nats"]
    layers = pd.DataFrame({"layer": range(n_layers)})
    table = filled(layers.assign(depth=layers["layer"] / max(1, n_layers - 1)), *measures)
    figure = figures.self_repair(table)
    for ax, columns in zip(figure.axes, (measures[:2], measures[2:]), strict=True):
        lines = [list(line.get_ydata()) for line in ax.lines if len(line.get_ydata()) == n_layers]
        assert all(table[column].tolist() in lines for column in columns)
        assert "depth" in ax.get_xlabel()


def test_an_accuracy_that_is_not_known_leaves_its_cells_empty():
    """An untrained model may be right about nothing, and then nothing of it can be kept."""
    table, (summary, draws) = runs(3), random(3)
    for rows in (table, summary, draws):
        rows.loc[:, [column for column in rows if column.startswith("accuracy_ratio")]] = np.nan
    summary["accuracy_intact"] = 0.0
    figure = figures.residual_paths(table, summary, draws)
    figures.save(figure, residual_paths.SLUG, "toy")
    assert cells(figure.axes[0]).count() == 0
