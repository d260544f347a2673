"""Every figure is the same file each time, whatever the session's style, and leaves that style alone."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_figures import table_for
from test_figures_benchmarks import measured
from test_figures_last_layers import calibrated, repeats, replaced, silenced
from test_figures_what_shapes_the_curves import bos, conditions, exchanged
from test_figures_what_shapes_the_curves import replaced as replaced_outputs
from test_figures_words import SPELLED, guesses, losses, pattern

import helpers
from helpers import figures, paths
from helpers.figures import style
from helpers.figures.claims_heatmap import MARKS
from helpers.figures.stages_of_inference import PANELS

pytestmark = pytest.mark.usefixtures("drawing")
MODULES = [module.name for module in pkgutil.iter_modules(figures.__path__)]
HAVE_NO_FIGURE_OF_THEIR_NAME = ("style", "layout", "words")
FUNCTIONS = [name for name in figures.__all__ if inspect.isfunction(getattr(figures, name)) and name != "save"]
ANOTHER_STYLE = {
    "axes.facecolor": "pink",
    "axes.grid": False,
    "figure.facecolor": "black",
    "font.family": ["monospace"],
    "font.size": 20,
    "legend.facecolor": "yellow",
    "lines.linewidth": 7,
    "lines.markersize": 15,
    "savefig.facecolor": "red",
    "text.color": "white",
    "xtick.labelsize": 20,
    "ytick.color": "green",
    "ytick.right": True,
}


def committed(table: str, model: str = "pocket") -> pd.DataFrame:
    return pd.read_csv(paths.ROOT / "results" / model / f"{table}.csv")


def verdicts() -> pd.DataFrame:
    return pd.DataFrame({"pocket": [*MARKS], "other": [*reversed(MARKS)]}, index=[f"claim {mark}" for mark in MARKS])


def neurons() -> pd.DataFrame:
    kurtosis, skew = np.random.default_rng(0).uniform([2, -1], [60, 1], (50, 2)).T
    return pd.DataFrame({"layer": 0, "kurtosis": kurtosis, "skew": skew})


def draws() -> pd.DataFrame:
    accuracies = np.random.default_rng(0).uniform(0, 1, 20)
    return pd.DataFrame({"k": 1, "draw": range(20), "first_kept": accuracies > 0.3, "accuracy_ratio": accuracies})


def experiments(model: str) -> dict[str, pd.DataFrame]:
    return {measure.experiment: committed(measure.experiment, model) for measure in PANELS}


def both(*names: str) -> list[pd.DataFrame]:
    """Tables of pocket, then the same of its untrained twin."""
    return [committed(name, model) for model in ("pocket", "pocket@untrained") for name in names]


INPUTS: dict[str, Callable[[], Sequence]] = {  # other figures take the table of their name, and its twin's
    "attention_words": lambda: ({"layer 0": pattern(), "layer 1": pattern(seed=1)}, SPELLED, "toy"),
    "benchmarks": lambda: (measured(),),
    "bos_norm": lambda: (bos(),),
    "claims_heatmap": lambda: (verdicts(),),
    "curves_of_shuffled_text": lambda: (conditions(), conditions(seed=1)),
    "curves_without_bos": lambda: (conditions(), conditions(seed=1)),
    "deleted_runs": lambda: both("residual_paths"),
    "detokenization": lambda: both("detokenization", "detokenization_words"),
    "exchanged_layers": lambda: (exchanged(),),
    "feature_engineering": lambda: (
        committed("feature_engineering"),
        committed("feature_engineering_entropy"),
        committed("feature_engineering", "pocket@untrained"),
    ),
    "gathering_heads": lambda: (committed("detokenization_heads"),),
    "joining": lambda: both("detokenization"),
    "last_layers": lambda: (repeats(), repeats(seed=1)),
    "last_layers_calibration": lambda: (calibrated(), calibrated(seed=1)),
    "last_layers_neurons": lambda: (silenced(),),
    "last_layers_stand_ins": lambda: (replaced(),),
    "layer_similarity": lambda: both("residual_paths_cka"),
    "local_attention_distance": lambda: both("local_attention"),
    "lens_words": lambda: (guesses(), SPELLED, "toy"),
    "logit_lens_flips": lambda: both("logit_lens"),
    "logit_lens_tuned": lambda: (committed("logit_lens_tuned"),),
    "lost_words": lambda: (losses(), SPELLED, "toy"),
    "merging_heads": lambda: (committed("detokenization_merging"), committed("detokenization_merging_heads")),
    "logit_lens_superseded": lambda: both("logit_lens"),
    "neuron_kurtosis": lambda: (neurons(), "pocket", 3.7, neurons()),
    "prediction_ensembling_ablation": lambda: (committed("prediction_ensembling_ablation"),),
    "residual_paths": lambda: (
        committed("residual_paths"),
        committed("residual_paths_random"),
        draws(),
        committed("residual_paths_random", "pocket@untrained"),
    ),
    "self_repair": lambda: (committed("residual_paths_self_repair"),),
    "training_dynamics": lambda: ({"step1": experiments("pocket")}, "pocket", experiments("pocket@untrained")),
    "stages_across_models": lambda: ({"gpt2": experiments("pocket"), "other": experiments("pocket@untrained")},),
    "stages_of_inference": lambda: (
        experiments("pocket"),
        committed("stages_of_inference"),
        experiments("pocket@untrained"),
    ),
    "what_shapes_the_curves": lambda: (replaced_outputs(), replaced_outputs(seed=1)),
}


def draw(name: str) -> Figure:
    """One figure of pocket and its twin, from the committed tables where there are any."""
    inputs = INPUTS[name]() if name in INPUTS else both(name)
    return getattr(figures, name)(*inputs)


def saved(figure: Figure) -> dict[str, bytes]:
    path = figures.save(figure, "figure", "toy")
    return {path.suffix: path.read_bytes() for path in (path, path.with_suffix(".svg"))}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_drawing_leaves_the_readers_session_as_it_was(name):
    with plt.rc_context(ANOTHER_STYLE):
        before = mpl.rcParams.copy(), [mpl.colors.to_rgb(letter) for letter in "bgrcmyk"]
        draw(name)
        assert (mpl.rcParams, [mpl.colors.to_rgb(letter) for letter in "bgrcmyk"]) == before


def test_saving_and_a_figure_that_fails_leave_it_as_well():
    figure = draw("layer_lesion")
    with plt.rc_context(ANOTHER_STYLE):
        before = mpl.rcParams.copy()
        figures.save(figure, "layer_lesion", "toy")
        assert mpl.rcParams == before
        with pytest.raises(KeyError):
            figures.layer_lesion(pd.DataFrame({"model": ["toy"]}))
        assert mpl.rcParams == before


def test_a_backend_that_is_loaded_while_drawing_goes_on_showing_figures():
    with plt.rc_context():
        mpl.interactive(False)
        with style.project_style():
            mpl.interactive(True)
        assert mpl.is_interactive()


@pytest.mark.parametrize("name", ["mlp_norm", "claims_heatmap"])
def test_the_readers_style_changes_nothing_in_the_file(name):
    expected = saved(draw(name))
    with plt.rc_context(ANOTHER_STYLE):
        figure = draw(name)
        figure.canvas.draw()  # as a notebook shows it
        assert saved(figure) == expected


@pytest.mark.parametrize("name", ["logit_lens", "layer_lesion"])
def test_the_same_table_gives_the_same_bytes(name):
    def written() -> dict[str, bytes]:
        return saved(getattr(figures, name)(table_for(name), table_for(name, seed=1)))

    first = written()
    plt.close("all")
    assert written() == first
    assert first[".png"].startswith(b"\x89PNG") and b"<svg" in first[".svg"]
    for content in first.values():
        assert b"Matplotlib" not in content and b"<dc:date>" not in content


def test_saving_returns_the_png_under_the_models_figures(tmp_path):
    figure = figures.logit_lens(table_for("logit_lens"))
    assert figures.save(figure, "logit_lens", "toy") == tmp_path / "figures" / "toy" / "logit_lens.png"
    assert figures.save(figure, "logit_lens", "toy", "flips").name == "logit_lens_flips.png"
    assert sorted(path.name for path in (tmp_path / "figures" / "toy").iterdir()) == [
        "logit_lens.png",
        "logit_lens.svg",
        "logit_lens_flips.png",
        "logit_lens_flips.svg",
    ]


def test_a_control_is_told_by_what_it_is_and_not_by_its_colour():
    table = table_for("mlp_norm")
    _, ax = plt.subplots()
    style.curve(ax, table, "mlp_norm", style.Look(figures.GREY, "a grey model"))
    style.curve(ax, table, "mlp_norm", style.untrained())
    style.curve(ax, table, "mlp_norm", style.Look(figures.BLUE, "a blue control", is_control=True))
    grey, twin, blue = ax.lines
    assert grey.get_marker() == "o" and twin.get_marker() == blue.get_marker() == "None"
    assert twin.get_zorder() == blue.get_zorder() < grey.get_zorder()
    assert twin.get_linewidth() == blue.get_linewidth() < grey.get_linewidth()


@pytest.mark.parametrize("module", MODULES)
def test_a_function_is_found_under_the_name_it_shares_with_its_module(module, monkeypatch):
    """Also if the module is imported before the package."""
    monkeypatch.setattr(helpers, "figures", figures)  # restored afterwards
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[:2] == ["helpers", "figures"]]:
        monkeypatch.delitem(sys.modules, loaded)
    importlib.import_module(f"helpers.figures.{module}")
    package = importlib.import_module("helpers").figures
    assert package is not figures
    assert all(inspect.isfunction(getattr(package, name)) for name in FUNCTIONS)
    assert all(
        inspect.isfunction(getattr(package, name)) for name in MODULES if name not in HAVE_NO_FIGURE_OF_THEIR_NAME
    )


@pytest.mark.parametrize("n_panels, n_rows", [(1, 1), (2, 1), (3, 2), (7, 4)])
def test_no_more_than_two_panels_lie_in_a_row(n_panels, n_rows):
    figure, axes = style.panels(n_panels, table_for("mlp_norm"), "title")
    assert figure.axes == axes and len(axes) == n_panels
    assert len({ax.get_subplotspec().rowspan.start for ax in axes}) == n_rows
    assert figure.get_figwidth() < 9
