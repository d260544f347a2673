"""The authors' curves are found for their models only, GPT-2's beside all others, and laid over the right axes."""

import json

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from test_figures import table_for

from helpers import figures, paths
from helpers.judging import published

pytestmark = pytest.mark.usefixtures("drawing")
OTHERS = ["pocket", "gpt2@untrained", "pythia-410m@step3000", "qwen2.5-0.5b", "/some/folder/gpt2"]
MEASURES = [published.local_attention, published.superseded_lens_entropy, published.neuron_counts]
CURVES = json.loads((paths.REFERENCE / "authors_curves.json").read_text())


@pytest.mark.parametrize("model", CURVES["local_attention"]["models"])
def test_every_published_attention_curve_is_found_by_the_models_alias(model):
    curve = published.local_attention(model)
    assert curve["attention_per_offset"].tolist() == CURVES["local_attention"]["models"][model]
    assert curve["depth"].iloc[[0, -1]].tolist() == [0, 1]
    assert curve["attention_per_offset"].between(0, 0.2).all()


@pytest.mark.parametrize("model", OTHERS)
def test_other_models_and_revisions_have_none(model):
    for curve in MEASURES:
        assert curve(model) is None


@pytest.mark.parametrize("model", OTHERS)
@pytest.mark.parametrize("curve", MEASURES)
def test_gpt2s_curve_stands_beside_models_without_one_and_says_that_it_is_gpt2s(curve, model):
    reference, gpt2 = published.beside(curve, model), curve("gpt2")
    assert reference.drop(columns="label").equals(gpt2.drop(columns="label"))
    assert set(reference["label"]) == {"GPT-2, the authors' plot"}
    assert set(gpt2["label"]) == {"the authors' plot"}


@pytest.mark.parametrize("model", CURVES["local_attention"]["models"])
def test_a_model_with_a_curve_of_its_own_has_that_beside_it(model):
    assert published.beside(published.local_attention, model).equals(published.local_attention(model))


def test_gpt2_has_all_three_under_alias_and_hub_id():
    for model in ("gpt2", "openai-community/gpt2"):
        assert len(published.local_attention(model)) == len(published.neuron_counts(model)) == 12
        assert len(published.superseded_lens_entropy(model)) == 13


@pytest.mark.parametrize("model", ["gpt2", "pocket"])
@pytest.mark.parametrize(
    ("name", "panel", "curve", "column"),
    [
        ("local_attention", 0, published.local_attention, "attention_per_offset"),
        ("logit_lens_superseded", 1, published.superseded_lens_entropy, "entropy_bits_final_scale"),
    ],
)
def test_the_published_curve_is_drawn_as_it_is_and_labelled(name, panel, curve, column, model):
    beside = published.beside(curve, model)
    figure = getattr(figures, name)(table_for(name), published=beside)
    (line,) = authors_lines(figure)
    assert line.axes is figure.axes[panel]
    assert list(line.get_ydata()) == beside[column].tolist()
    assert beside[column].between(*line.axes.get_ylim()).all()
    labels = [label for label in legend(line.axes) if "authors" in label]
    assert [label.startswith("GPT-2") for label in labels] == [model == "pocket"]


def test_the_published_entropy_is_called_superseded_and_so_is_its_figure():
    beside = published.beside(published.superseded_lens_entropy, "pocket")
    figure = figures.logit_lens_superseded(table_for("logit_lens_superseded"), published=beside)
    assert "superseded" in figure.get_suptitle()
    assert "GPT-2, the authors' plot: superseded lens" in legend(figure.axes[1])


def test_published_neurons_are_drawn_as_shares_of_gpt2s_3072():
    beside = published.beside(published.neuron_counts, "pocket")
    name = "prediction_suppression_neurons"
    prediction, suppression = authors_lines(figure := getattr(figures, name)(table_for(name), published=beside))
    gpt2 = CURVES["neuron_counts"]["models"]["gpt2"]
    assert list(prediction.get_ydata()) == pytest.approx([count / 3072 for count in gpt2["prediction"]])
    assert list(suppression.get_ydata()) == pytest.approx([count / 3072 for count in gpt2["suppression"]])
    assert prediction.get_marker() != suppression.get_marker()
    expected = ["GPT-2, the authors' plot: prediction", "GPT-2, the authors' plot: suppression"]
    assert [label for label in legend(figure.axes[0]) if "authors" in label] == expected


def authors_lines(figure: Figure) -> list[Line2D]:
    """The lines in the style of the authors' curves, black and dotted."""
    return [line for ax in figure.axes for line in ax.lines if (line.get_color(), line.get_linestyle()) == ("k", ":")]


def legend(ax: Axes) -> list[str]:
    return ax.get_legend_handles_labels()[1]
