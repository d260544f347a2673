"""The figures of replaced layers, of BOS and of changed conditions show the numbers of their tables."""

import itertools

import pandas as pd
import pytest
from test_figures_residual_paths import drawn, filled

from helpers import figures
from helpers.beyond import exchange, replaced_layers, what_shapes_the_curves
from helpers.figures.layer_similarity import ORDERS
from helpers.figures.what_shapes_the_curves import KINDS, PANELS, SHAPED_BY_BOS, SHAPED_BY_TEXT

pytestmark = pytest.mark.usefixtures("drawing")
N_LAYERS = (2, 5)


def by_kind(kinds: tuple[str, ...], n_layers: int = 5, seed: int = 0) -> pd.DataFrame:
    keys = pd.DataFrame(itertools.product(range(n_layers), kinds), columns=["layer", "intervention"])
    return filled(keys.assign(depth=keys["layer"] / max(1, n_layers - 1)), "kl_nats", "top1_agreement", seed=seed)


def replaced(n_layers: int = 5, seed: int = 0) -> pd.DataFrame:
    return by_kind(replaced_layers.KINDS, n_layers, seed)


def exchanged(n_layers: int = 5) -> pd.DataFrame:
    return by_kind(exchange.ORDERS, n_layers)


def conditions(n_layers: int = 5, seed: int = 0) -> pd.DataFrame:
    keys = itertools.product(what_shapes_the_curves.CURVES, range(n_layers))
    table = pd.DataFrame(keys, columns=["curve", "layer"])
    return filled(table.assign(depth=table["layer"] / max(1, n_layers - 1)), "value", seed=seed)


def bos(with_removal: bool = True, n_layers: int = 5) -> pd.DataFrame:
    keys = itertools.product((False, True) if with_removal else (False,), range(n_layers + 1))
    table = pd.DataFrame(keys, columns=["removed", "layer"]).assign(depth=lambda rows: rows["layer"] / n_layers)
    return filled(table, "bos_norm", "other_norm", "attention_to_bos")


def of(table: pd.DataFrame, **chosen: object) -> pd.DataFrame:
    (column, value), *_ = chosen.items()
    return table[table[column] == value]


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_every_replacement_has_a_line_and_the_twins_a_panel(n_layers):
    table, control = replaced(n_layers), replaced(n_layers, seed=1)
    figure = figures.what_shapes_the_curves(table, control)
    shown = [(table, "kl_nats"), (table, "top1_agreement"), (control, "kl_nats")]
    assert set(KINDS) == set(replaced_layers.KINDS)
    for ax, (source, column) in zip(figure.axes, shown, strict=True):
        for kind, (colour, _) in KINDS.items():
            assert drawn(ax, colour) == [of(source, intervention=kind)[column].tolist()]
    assert len(figures.what_shapes_the_curves(table).axes) == 2


@pytest.mark.parametrize("n_layers", N_LAYERS)
def test_every_order_of_neighbours_has_a_line_and_stand_ins_are_dashed(n_layers):
    table = exchanged(n_layers)
    assert set(ORDERS) == set(exchange.ORDERS)
    for ax, column in zip(figures.exchanged_layers(table).axes, ("kl_nats", "top1_agreement"), strict=True):
        for order, (colour, dashes, _) in ORDERS.items():
            alike = [line for line in ax.lines if line.get_color() == colour and line.get_linestyle() == dashes]
            assert [list(line.get_ydata()) for line in alike] == [of(table, intervention=order)[column].tolist()]
            assert (dashes == "--") == (order in exchange.STAND_IN)


def test_changed_conditions_lie_beside_the_curves():
    table, changed = conditions(), conditions(seed=1)
    for draw, chosen in (
        (figures.curves_without_bos, SHAPED_BY_BOS),
        (figures.curves_of_shuffled_text, SHAPED_BY_TEXT),
    ):
        for ax, which in zip(draw(table, changed).axes, chosen, strict=True):
            assert drawn(ax, figures.BLUE) == [of(table, curve=which)["value"].tolist()]
            assert drawn(ax, figures.ORANGE) == [of(changed, curve=which)["value"].tolist()]
            assert PANELS[which] in ax.get_ylabel()
            assert ("depth of the row" in ax.get_xlabel()) == which.startswith("lens")


def test_a_model_without_a_massive_activation_says_so():
    figure = figures.curves_without_bos(conditions())
    assert "no massive activation" in figure.get_suptitle()
    assert all(drawn(ax, figures.ORANGE) == [] for ax in figure.axes)
    assert len(drawn(figures.bos_norm(bos(with_removal=False)).axes[0], figures.ORANGE)) == 1


def test_bos_is_drawn_before_and_after_removal_and_attention_has_no_last_row():
    table = bos()
    norms, attention = figures.bos_norm(table).axes
    expected = [of(table, removed=flag)["bos_norm"].tolist() for flag in (False, True)]
    assert drawn(norms, figures.ORANGE) == expected
    assert [len(values) for values in drawn(attention, figures.GREEN)] == [5, 5]
