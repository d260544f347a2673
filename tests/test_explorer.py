"""The explorer: what its script reads is what the model computes, and the page asks the network for nothing."""

import base64
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest
import torch

from helpers import paths
from helpers.beyond import one_text
from helpers.errors import InputError
from helpers.pages import explorer
from helpers.pages.sentence import GUESSES, Sentence

TEXTS = ("The old man said nothing.", 'A </script><script>alert("1")</script> & a <b>.')
VOID = ("meta", "link", "input", "br", "img")


class Reader(HTMLParser):
    """Every element with its attributes, and what stands in each script."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "every element is closed where it was opened"

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data

    def having(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def sentences(bridges):
    return [Sentence.of(bridges["neox_parallel"], text) for text in TEXTS]


@pytest.fixture(scope="module")
def content(sentences):
    return explorer.page("some--model & co", sentences)


@pytest.fixture(scope="module")
def page(content):
    return Reader(content)


@pytest.fixture(scope="module")
def read(page):
    return json.loads(page.scripts[0])


def test_the_page_names_nothing_outside_itself_and_forbids_the_browser_to_look_for_it(page, content):
    assert all(target.startswith(("#", "data:")) for name in ("src", "href") for target in page.having(name))
    assert not re.search(r"://|url\(|@import|fetch\(|XMLHttpRequest|import\(", content)
    (policy,) = (each["content"] for _, each in page.elements if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert not page.open


def test_what_the_script_looks_for_is_on_the_page_once(page):
    script, ids = page.scripts[1], page.having("id")
    looked_for = set(re.findall(r'(?:find|getElementById|drawGrid|listen)\("([\w-]+)"', script))
    assert {"lens", "attention", "tokens", "details", "layer"} <= looked_for <= set(ids)
    assert len(ids) == len(set(ids))


def test_controls_have_labels_tables_have_names_and_headings_go_down_one_by_one(page):
    labelled = set(page.having("for"))
    for tag, attributes in page.elements:
        if tag in ("select", "input") and attributes.get("type") != "radio":
            assert attributes["id"] in labelled
        if tag == "table":
            assert "aria-labelledby" in attributes
    assert set(page.having("aria-labelledby")) <= set(page.having("id"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_neither_a_text_nor_a_name_can_leave_its_place(page, read, content):
    assert len(page.scripts) == 2, "the numbers and the script, whatever the texts say"
    assert [each["text"] for each in read["sentences"]] == list(TEXTS)
    assert "some--model &amp; co" in content and "model & co" not in content


def test_guesses_are_found_where_the_script_looks_for_them(bridges, read):
    bridge = bridges["neox_parallel"]
    for sentence, text in zip(read["sentences"], TEXTS, strict=True):
        tokens = one_text.encode(bridge, text)
        n_tokens = tokens.shape[1]
        assert sentence["tokens"] == one_text.spellings(bridge, tokens)
        lesioned = one_text.lesioned_guesses(bridge, tokens, GUESSES)
        tables = {"lens": one_text.lens_guesses(bridge, tokens, GUESSES).rename(columns={"row": "layer"})}
        tables |= {name: lesioned[lesioned["intervention"] == name] for name in ("drop", "swap")}
        for name, table in tables.items():
            kept = sentence[name]
            assert len(kept["token"]) == len(kept["permille"]) == len(table)
            for row in table.sample(40, random_state=0).itertuples():
                place = (row.layer * n_tokens + row.position) * GUESSES + row.rank - 1
                assert read["vocabulary"][kept["token"][place]] == row.token
                assert kept["permille"][place] / 1000 == pytest.approx(row.probability, abs=0.0006)


def test_losses_are_found_where_the_script_looks_for_them(bridges, read):
    tokens = one_text.encode(bridges["neox_parallel"], TEXTS[0])
    kept = read["sentences"][0]["loss_change"]
    for row in one_text.loss_by_token(bridges["neox_parallel"], tokens).itertuples():
        place = row.layer * (tokens.shape[1] - 1) + row.position - 1
        assert kept[row.intervention][place] == pytest.approx(row.loss_change_nats, abs=0.0006)
    assert [len(kept[name]) for name in ("drop", "swap")] == [n * (tokens.shape[1] - 1) for n in (4, 3)]


def test_attention_is_found_where_the_script_looks_for_it(bridges, read):
    patterns = one_text.patterns(bridges["neox_parallel"], one_text.encode(bridges["neox_parallel"], TEXTS[0]))
    n_layers, n_heads, length, _ = patterns.shape
    kept = base64.b64decode(read["sentences"][0]["attention"])
    assert (read["n_layers"], read["n_heads"]) == (n_layers, n_heads)
    assert len(kept) == n_layers * n_heads * length * (length + 1) // 2
    for layer, head, query, key in torch.cartesian_prod(*map(torch.arange, patterns.shape)).tolist():
        if key <= query:
            place = (layer * n_heads + head) * length * (length + 1) // 2 + query * (query + 1) // 2 + key
            assert kept[place] / 255 == pytest.approx(patterns[layer, head, query, key].item(), abs=0.003)


def test_a_model_of_one_layer_has_nothing_to_swap():
    one = pd.DataFrame({"position": [0, 0], "rank": 1, "token": ["a", "b"], "probability": [0.5, 0.25]})
    lesioned = one.assign(intervention=["intact", "drop"], layer=pd.array([None, 0], dtype="Int64"))
    losses = pd.DataFrame({"intervention": ["drop"], "layer": 0, "position": 1, "token": "a", "loss_change_nats": 0.1})
    sentence = Sentence("a", ["BOS", "a"], one.assign(row=[0, 1]), lesioned, losses, torch.ones(1, 1, 2, 2).tril())
    (kept,) = explorer.numbers([sentence])["sentences"]
    assert kept["swap"] == {"token": [], "permille": []} and kept["loss_change"]["swap"] == []
    assert kept["drop"] == {"token": [1], "permille": [250]}


@pytest.fixture
def loaded(monkeypatch, bridges):
    """Names of the models that were loaded, in order."""
    names, bridge = [], bridges["gpt2"]

    def load(name, device, dtype, seed):
        names.append(name)
        return bridge

    monkeypatch.setattr(explorer.models, "load", load)
    monkeypatch.setattr(explorer, "SENTENCES", TEXTS[:1])
    return names


def test_a_page_is_written_again_only_if_it_would_be_another(loaded, monkeypatch, tmp_path):
    same = {"device": "cpu", "dtype": "float32", "seed": 0, "file_hashes": {"model.safetensors": "1"}}
    file = explorer.update("gpt2", **same)
    assert file == paths.results("gpt2") / "explorer.html" and file.is_file()
    explorer.update("gpt2", **same)
    assert len(loaded) == 1
    explorer.update("gpt2", **same | {"file_hashes": {"model.safetensors": "2"}})
    explorer.update("gpt2", **same | {"file_hashes": {"model.safetensors": "2"}, "dtype": "bfloat16"})
    assert len(loaded) == 3
    file.unlink()
    explorer.update("gpt2", **same)
    assert len(loaded) == 4
    style = tmp_path / "other.css"
    style.write_text("p {}")
    monkeypatch.setattr(explorer, "TEMPLATES", (*explorer.TEMPLATES[:2], str(style), explorer.TEMPLATES[3]))
    explorer.update("gpt2", **same)
    assert len(loaded) == 5, "its own files have changed"


@pytest.mark.parametrize("damage", [lambda page: page[:-9], lambda page: b"", lambda page: b"\x80\xff"])
def test_a_page_that_was_damaged_is_written_again(damage, loaded):
    same = {"device": "cpu", "dtype": "float32", "seed": 0, "file_hashes": {}}
    file = explorer.update("gpt2", **same)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    explorer.update("gpt2", **same)
    assert file.read_bytes() == whole and len(loaded) == 2


def test_sentences_of_ones_own_go_where_one_wants_and_bad_ones_are_named(bridges, tmp_path):
    file = explorer.write(bridges["gpt2"], "gpt2", ["Good evening."], tmp_path / "own.html")
    assert "Good evening." in file.read_text(encoding="utf8")
    with pytest.raises(InputError, match="empty"):
        explorer.write(bridges["gpt2"], "gpt2", [""], tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_the_bundled_sentences_fit_into_a_small_context(bridges):
    for text in explorer.SENTENCES:
        assert one_text.encode(bridges["gpt2"], text).shape[1] <= 40
