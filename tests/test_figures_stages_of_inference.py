"""The page of all measures, the overlay of models and the heatmap of verdicts show their tables."""

import numpy as np
import pandas as pd
import pytest

from helpers import figures
from helpers.figures.claims_heatmap import MARKS
from helpers.figures.layout import MIDDLE_LABEL
from helpers.figures.stages_of_inference import PANELS, family_colours
from helpers.judging import claims, stages

pytestmark = pytest.mark.usefixtures("drawing")


def tables_of(model: str, n_layers: int = 6, seed: int = 0) -> dict[str, pd.DataFrame]:
    generator = np.random.default_rng(seed)
    tables: dict[str, pd.DataFrame] = {}
    for experiment, column, intervention, *_ in PANELS:
        n_rows = n_layers + (experiment == "logit_lens")
        table = tables.setdefault(
            experiment, pd.DataFrame({"model": model, "layer": range(n_rows), "depth": np.linspace(0, 1, n_rows)})
        )
        table[column] = generator.uniform(0.2, 0.8, n_rows)
        if intervention:
            table["intervention"] = intervention
    return tables


def boundaries_at(*layers: float, n_layers: int = 6) -> pd.DataFrame:
    rows = [{"between": b.between, "layer": at} for b, at in zip(stages.BOUNDARIES, layers, strict=True)]
    table = pd.DataFrame(rows).assign(model="toy")
    table["layer_low"], table["layer_high"] = table["layer"] - 1, table["layer"] + 1
    return table.assign(depth=(table["layer"] - 0.5) / (n_layers - 1))


def test_every_panel_shows_its_column_and_every_boundary_found():
    own = tables_of("toy")
    figure = figures.stages_of_inference(own, boundaries_at(1, 3, np.nan))
    for ax, (experiment, column, *_) in zip(figure.axes, PANELS, strict=True):
        curves = [list(line.get_ydata()) for line in ax.lines]
        assert own[experiment][column].tolist() in curves
        upright = [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]
        assert upright == pytest.approx([0.1, 0.5])
        assert len([band for band in ax.patches if band.get_label() != MIDDLE_LABEL]) == 2
    assert "2 of 3 boundaries" in figure.get_suptitle()
    none = figures.stages_of_inference(own, boundaries_at(np.nan, np.nan, np.nan))
    assert "no boundary" in none.get_suptitle()


def test_the_twin_is_grey_in_every_panel():
    figure = figures.stages_of_inference(tables_of("toy"), boundaries_at(1, 3, 5), tables_of("toy@untrained", seed=1))
    for ax in figure.axes:
        assert len([line for line in ax.lines if line.get_color() == figures.GREY]) == 1


def test_several_models_are_overlaid_each_with_its_own_line():
    models = {name: tables_of(name, n, seed=n) for name, n in (("gpt2", 4), ("gpt2-xl", 8), ("toy", 6))}
    figure = figures.stages_across_models(models)
    for ax, (experiment, column, *_) in zip(figure.axes, PANELS, strict=True):
        shown = [list(line.get_ydata()) for line in ax.lines]
        assert shown == [own[experiment][column].tolist() for own in models.values()]


def test_families_share_a_hue_and_deeper_models_are_darker():
    models = {name: tables_of(name, n) for name, n in (("gpt2-xl", 8), ("gpt2", 4), ("pythia-410m", 5), ("toy", 3))}
    colours = family_colours(models)
    assert sum(colours["gpt2-xl"]) < sum(colours["gpt2"])
    red, _, blue = colours["pythia-410m"]
    assert red > blue and colours["gpt2"][2] > colours["gpt2"][0]


def test_the_heatmap_has_a_mark_and_a_legend_for_every_outcome():
    outcomes = ["holds", "does not hold", *claims.KINDS]
    verdicts = pd.DataFrame({"a": outcomes, "b": outcomes[::-1]}, index=["one", "two", "three", "four", "five"])
    figure = figures.claims_heatmap(verdicts)
    marks = [text.get_text() for text in figure.axes[0].texts]
    assert marks[::2] == marks[1::2][::-1] and len(set(marks)) == 5
    assert dict(zip(outcomes, marks[::2], strict=True)) == {outcome: mark for outcome, (mark, _) in MARKS.items()}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(legend) == sorted(f"{mark}  {outcome}" for outcome, (mark, _) in MARKS.items())


def test_the_same_page_is_the_same_file():
    contents = []
    for _ in range(2):
        figure = figures.stages_of_inference(tables_of("toy"), boundaries_at(1, 3, 5))
        contents.append(figures.save(figure, stages.SLUG, "toy").with_suffix(".svg").read_bytes())
    assert len(set(contents)) == 1


def test_every_count_is_in_view_and_a_panel_without_counts_is_drawn_empty():
    counts = [number for number, measure in enumerate(PANELS) if measure.scale == "count"]
    models = {"many": tables_of("many"), "few": tables_of("few"), "none": {"mlp_norm": tables_of("none")["mlp_norm"]}}
    for name, most in (("many", 9), ("few", 2)):
        for panel in counts:
            models[name][PANELS[panel].experiment][PANELS[panel].column] = range(most - 5, most + 1)
    for shown, top in ((models, 9), ({"none": models["none"]}, 1)):
        figure = figures.stages_across_models(shown)
        assert [figure.axes[panel].get_ylim() for panel in counts] == [(0, pytest.approx(1.05 * top))] * len(counts)
