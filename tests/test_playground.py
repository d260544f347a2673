"""The playground: what its pictures say is what the tables say, and the slider never runs the model."""

import re
from html import escape, unescape

import nbformat
import pytest

from helpers import blocks
from helpers.beyond import one_text
from helpers.command import execution, options
from helpers.pages import panels, playground
from helpers.pages.playground import Playground
from helpers.pages.sentence import GUESSES

TEXT = "The <b>old</b> man & the old man."


@pytest.fixture(scope="module")
def made(checkpoints):
    return Playground(str(checkpoints["gpt2"]), TEXT)


@pytest.fixture
def play(made):
    """The same one for all tests, as it was at first."""
    made.text.value, made.layer.value, made.head.value = TEXT, 0, playground.MEAN
    made.token.value = len(made.sentence.tokens) - 1
    return made


def checkpoint_of(folder, **changed):
    """A checkpoint of another shape."""
    from checkpoints import GPT2, save
    from transformers import AutoModelForCausalLM, GPT2Config

    return save(AutoModelForCausalLM.from_config(GPT2Config(**GPT2 | changed, bos_token_id=0, eos_token_id=0)), folder)


def cells(markup: str, tag: str = "td") -> list[list[str]]:
    """What stands in the cells of every row of the table's body."""
    body = markup.partition("<tbody>")[2]
    return [
        [unescape(cell) for cell in re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", row)] for row in body.split("</tr>")[:-1]
    ]


def pictures(play: Playground) -> tuple[str, ...]:
    return tuple(getattr(play, name).value for name in ("losses", "next_token", "lens", "attention"))


def test_the_slider_changes_every_picture_and_never_runs_the_model(play, monkeypatch):
    monkeypatch.setattr(playground.Sentence, "of", None)
    play.bridge, bridge = None, play.bridge
    seen = []
    for layer in range(play.sentence.n_layers):
        play.layer.value = layer
        seen.append(pictures(play))
    play.bridge = bridge
    assert all(len(set(of_panel)) == play.sentence.n_layers for of_panel in zip(*seen, strict=True))


def test_the_lens_has_the_models_own_guesses_on_top_and_frames_what_is_right(play):
    best = play.sentence.lens[play.sentence.lens["rank"] == 1]
    rows = cells(play.lens.value)
    for row, shown in enumerate(reversed(rows)):
        assert shown == list(best.loc[best["row"] == row, "token"])
    logits = play.bridge(one_text.encode(play.bridge, TEXT))[0]
    assert rows[0] == one_text.spellings(play.bridge, logits.argmax(-1))
    lowest = play.lens.value.split("<tr")[-1]
    right = ['class="right"' in cell for cell in lowest.split("<td")[1:]]
    follows = [*play.sentence.tokens[1:], None]
    assert right == [guess == token for guess, token in zip(rows[-1], follows, strict=True)]


def test_what_enters_and_what_leaves_the_layer_is_marked(play):
    play.layer.value = 1
    marked = ['class="chosen"' in row for row in play.lens.value.partition("<tbody>")[2].split("</tr>")[:-1]]
    assert list(reversed(marked)) == [False, True, True, False, False]


@pytest.mark.parametrize("head", [None, 2])
def test_attention_is_that_of_the_layer_and_the_head(play, head):
    play.layer.value, play.head.value = 2, playground.MEAN if head is None else head
    assert play.head.label == ("mean of all" if head is None else "2")
    pattern = play.sentence.patterns[2].mean(0) if head is None else play.sentence.patterns[2, head]
    rows = play.attention.value.partition("<tbody>")[2].split("</tr>")[:-1]
    for query, row in enumerate(rows):
        shown = [float(share) for share in re.findall(r'title="([\d.]+)%"', row)]
        assert shown == pytest.approx((100 * pattern[query, : query + 1]).tolist(), abs=0.051)
    for query, row in enumerate(cells(play.attention.value)):
        large = [f"{100 * share:.0f}" if share >= 0.095 else "" for share in pattern[query, : query + 1].tolist()]
        assert row == large


def test_losses_are_those_of_both_lesions_of_the_layer(play):
    play.layer.value = 1
    losses = play.sentence.losses[play.sentence.losses["layer"] == 1]
    shown = [float(change) for change in re.findall(r"<small>(.*?)</small>", play.losses.value)]
    assert shown == pytest.approx(losses["loss_change_nats"].tolist(), abs=0.0051)
    assert set(losses["intervention"]) == {"drop", "swap"}


def test_what_follows_is_guessed_by_the_intact_model_and_under_both_lesions(play):
    play.layer.value, play.token.value = 1, 3
    tokens = one_text.encode(play.bridge, TEXT)
    shown = re.findall(r"<span>([^<]*)</span><span>([\d.]+)%", play.next_token.value)
    expected = []
    for order in ([0, 1, 2, 3], [0, 2, 3], [0, 2, 1, 3]):
        best = blocks.run_order(play.bridge, tokens, order)[0, 3].softmax(-1).topk(GUESSES)
        spelled = one_text.spellings(play.bridge, best.indices)
        expected += [
            (escape(token), f"{share:.1%}"[:-1]) for token, share in zip(spelled, best.values.tolist(), strict=True)
        ]
    assert shown == expected


def test_the_last_layer_has_nothing_to_be_swapped_with(play):
    play.layer.value = play.layer.max
    assert "swapped" not in play.losses.value + play.next_token.value
    assert "dropped" in play.losses.value and "dropped" in play.next_token.value


def test_a_text_is_shown_and_not_run_as_html(play):
    play.token.value = next(place for place, token in enumerate(play.sentence.tokens) if "<" in token)
    for picture in pictures(play):
        assert "<b>" not in picture and "&lt;" in picture
    assert panels.continuations({"intact": "<i>"}).count("&lt;i&gt;") == 1


def test_a_new_text_is_computed_and_its_last_token_chosen(play):
    before = pictures(play)
    play.text.value = "Good evening, said the man."
    assert play.sentence.text == "Good evening, said the man."
    assert play.token.value == len(play.sentence.tokens) - 1 == play.token.options[-1][1]
    assert not set(before) & set(pictures(play))
    assert play.message.value == ""


@pytest.mark.parametrize(
    ("control", "value", "said"),
    [("text", "", "empty"), ("text", "word " * 200, "shorter text"), ("model", "no-such-model", "no model")],
)
def test_what_cannot_be_used_is_said_and_changes_nothing(play, control, value, said):
    before, sentence, bridge = pictures(play), play.sentence, play.bridge
    name = play.model.value
    getattr(play, control).value = value
    assert said in play.message.value
    assert pictures(play) == before and play.sentence is sentence and play.bridge is bridge
    play.model.value = name


def test_another_model_brings_its_own_layers_and_heads(play, tmp_path):
    first, play.layer.value = play.model.value, 3
    play.model.value = str(checkpoint_of(tmp_path, n_layer=2, n_head=8))
    assert play.message.value == ""
    assert (play.layer.max, play.layer.value) == (1, 1)
    assert [label for label, _ in play.head.options] == ["mean of all", *map(str, range(8))]
    assert len(cells(play.lens.value)) == 3
    play.model.value = first
    assert play.layer.max == 3


def test_the_model_writes_on_as_it_is_and_under_both_lesions(play):
    play.layer.value = 2
    play.write_on.click()
    tokens = one_text.encode(play.bridge, TEXT)
    length = playground.WRITTEN_ON
    for what, order in (
        ("intact", None),
        ("layer 2 dropped", [0, 1, 3]),
        ("layers 2 and 3 swapped", [0, 1, 3, 2]),
    ):
        text = one_text.continuation(play.bridge, tokens, length, order)
        assert f"<b>{what}:</b> … {escape(text)}</div>" in play.written.value
    play.layer.value = 1
    assert play.written.value == "", "what was written belongs to the layer it was written with"


def test_a_stored_notebook_says_what_was_there_and_keeps_no_widget(play, tmp_path):
    output = nbformat.v4.new_output("display_data", data=play._repr_mimebundle_())
    assert execution.WIDGET in output.data
    cell = nbformat.v4.new_code_cell("play", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    nbformat.write(notebook, tmp_path / "executed.ipynb")
    execution.copy_clean(tmp_path / "executed.ipynb", tmp_path / "committed.ipynb")
    stored = nbformat.read(tmp_path / "committed.ipynb", as_version=4)
    assert list(stored.cells[0].outputs[0].data) == ["text/plain"]
    assert "Run this cell to play" in stored.cells[0].outputs[0].data["text/plain"]
    assert "widgets" not in stored.metadata


def test_the_playground_is_no_experiment():
    assert not [path for path in options.experiment_notebooks() if "playground" in path.name]
