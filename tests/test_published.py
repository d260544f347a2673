"""The authors' curves are found for their models only, and laid over the right axes."""

import json

import matplotlib.pyplot as plt
import pytest
from test_figures import table_for

from helpers import figures, paths
from helpers.judging import published

CURVES = json.loads((paths.REFERENCE / "authors_curves.json").read_text())


@pytest.mark.parametrize("model", CURVES["local_attention"]["models"])
def test_every_published_attention_curve_is_found_by_the_models_alias(model):
    curve = published.local_attention(model)
    assert curve["attention_per_offset"].tolist() == CURVES["local_attention"]["models"][model]
    assert curve["depth"].iloc[[0, -1]].tolist() == [0, 1]
    assert curve["attention_per_offset"].between(0, 0.2).all()


@pytest.mark.parametrize(
    "model", ["pocket", "gpt2@untrained", "pythia-410m@step3000", "qwen2.5-0.5b", "/some/folder/gpt2"]
)
def test_other_models_and_revisions_have_none(model):
    for curve in (published.local_attention, published.lens_entropy, published.neuron_counts):
        assert curve(model) is None


def test_gpt2_has_all_three_under_alias_and_hub_id():
    for model in ("gpt2", "openai-community/gpt2"):
        assert len(published.local_attention(model)) == len(published.neuron_counts(model)) == 12
        assert len(published.lens_entropy(model)) == 13


@pytest.mark.parametrize(
    ("name", "panel", "found"),
    [
        ("local_attention", 0, published.local_attention),
        ("logit_lens", 1, published.lens_entropy),
        ("prediction_suppression_neurons", 0, published.neuron_counts),
    ],
)
def test_the_published_curve_is_drawn_as_it_is_and_labelled(name, panel, found):
    curve = found("gpt2")
    ax = getattr(figures, name)(table_for(name), published=curve).axes[panel]
    drawn = [line for line in ax.lines if line.get_color() == "k"]
    columns = [column for column in curve if column != "depth"]
    assert [list(line.get_ydata()) for line in drawn] == [curve[column].tolist() for column in columns]
    assert "the authors' plot" in " ".join(text.get_text() for text in ax.get_legend().get_texts())
    plt.close("all")
