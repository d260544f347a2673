"""Text becomes windows of tokens the same way wherever it is kept, and bad text is refused in one line."""

import copy
import inspect
import json
import random
from itertools import pairwise
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import torch

from helpers import corpus, paths
from helpers.command import presets
from helpers.errors import InputError
from helpers.text import vocabulary

EOS = 0
WORDS = "the old man read a letter by the river and put it away until the rain had stopped".split()


def document(number: int, words: int = 60) -> str:
    """Text that differs from every other document's."""
    draw = random.Random(number)
    return f"Document {number}. " + " ".join(draw.choice(WORDS) for _ in range(words))


DOCUMENTS = [document(number) for number in range(12)]


@pytest.fixture
def pocket(bridges):
    return bridges["pocket"]


@pytest.fixture
def own_tokenizer(pocket, monkeypatch):
    """A copy of the tokenizer that the model uses for the length of a test, to be changed at will."""
    monkeypatch.setattr(pocket, "tokenizer", copy.deepcopy(pocket.tokenizer))
    return pocket.tokenizer


@pytest.fixture
def hub_dataset(monkeypatch):
    """Stands in for a dataset on the Hub: set its ``rows``; it notes how it was called and how far it was read."""

    class Dataset:
        def __init__(self):
            self.rows, self.calls, self.read = [], [], 0

        def load(self, *args, **options):
            self.calls.append((args, options))
            return self.stream()

        def stream(self):
            for row in self.rows:
                self.read += 1
                yield row

    dataset = Dataset()
    monkeypatch.setattr(datasets, "load_dataset", dataset.load)
    return dataset


def write_texts(folder: Path, texts: list[str], order: list[int] | None = None) -> Path:
    """One .txt file a document, created in ``order``."""
    folder.mkdir()
    for number in order or range(len(texts)):
        (folder / f"{number:02}.txt").write_text(texts[number], encoding="utf-8")
    return folder


def write_jsonl(path: Path, texts: list[str], **options) -> Path:
    path.write_text("".join(json.dumps({"text": text}, **options) + "\n" for text in texts), encoding="utf-8")
    return path


def write_parquet(path: Path, column: pyarrow.Array | list, name: str = "text") -> Path:
    pyarrow.parquet.write_table(pyarrow.table({name: column, "other": list(range(len(column)))}), path)
    return path


def stream_of(tokenizer, texts: list[str]) -> list[int]:
    """All documents as one list of ids, an EOS between each two."""
    ids: list[int] = []
    for text in texts:
        ids += [EOS] * bool(ids) + tokenizer.encode(text, add_special_tokens=False)
    return ids


def refusal(bridge, source: str | Path, tokens: int = 64, context: int = 16) -> str:
    """The one line that says why the text is not used."""
    with pytest.raises(InputError) as caught:
        corpus.windows(bridge, str(source), tokens=tokens, context=context)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


# --- Windows


@pytest.mark.parametrize(("tokens", "context"), [(160, 16), (167, 16), (500, 33), (256, 256), (1, 8), (90, 9)])
def test_local_windows_are_evenly_spaced_over_the_whole_text(tokens, context, pocket, tmp_path):
    ids = stream_of(pocket.tokenizer, DOCUMENTS)
    wanted = max(1, tokens // context)
    assert len(ids) > wanted * context
    expected = []
    for number in range(wanted):
        start = number * len(ids) // wanted
        expected.append([EOS] + [ids[start + offset] for offset in range(context - 1)])
    actual = corpus.windows(pocket, str(write_jsonl(tmp_path / "c.jsonl", DOCUMENTS)), tokens, context)
    assert actual.tolist() == expected
    assert actual.dtype == torch.int64


def test_windows_do_not_overlap_when_all_of_the_text_is_used(pocket, tmp_path):
    ids = stream_of(pocket.tokenizer, DOCUMENTS)
    actual = corpus.windows(pocket, str(write_texts(tmp_path / "c", DOCUMENTS)), tokens=10**6, context=16)
    assert len(actual) == len(ids) // 15 < 10**6 // 16  # fewer than asked for
    starts = [number * len(ids) // len(actual) for number in range(len(actual))]
    assert all(later - earlier >= 15 for earlier, later in pairwise(starts))
    assert actual[:, 1:].tolist() == [ids[start : start + 15] for start in starts]


def test_text_for_exactly_one_window_is_enough_and_one_token_less_is_not(pocket, tmp_path):
    (tmp_path / "c.txt").write_text(DOCUMENTS[0])
    ids = stream_of(pocket.tokenizer, DOCUMENTS[:1])
    assert corpus.windows(pocket, f"{tmp_path}/c.txt", 1, len(ids) + 1).tolist() == [[EOS, *ids]]
    message = refusal(pocket, f"{tmp_path}/c.txt", 1, len(ids) + 2)
    assert f"c.txt has {len(ids)} tokens, one sequence needs {len(ids) + 1}" in message
    assert "more text or a smaller --context" in message


def test_every_window_starts_with_bos_and_documents_are_joined_by_eos(pocket, tmp_path):
    folder = write_texts(tmp_path / "c", DOCUMENTS)
    actual = corpus.windows(pocket, str(folder), tokens=10**6, context=16)
    assert set(actual[:, 0].tolist()) == {EOS}
    assert 0 < (actual[:, 1:] == EOS).sum() <= len(DOCUMENTS) - 1
    only_one = corpus.windows(pocket, str(folder / "00.txt"), tokens=10**6, context=16)
    assert (only_one[:, 1:] == EOS).sum() == 0


def test_bundled_text_is_the_default_and_gives_the_presets_windows(pocket):
    actual = corpus.windows(pocket)
    assert len(actual) == 24
    assert actual.shape[1] == 256
    assert torch.equal(actual, corpus.windows(pocket, "bundled", tokens=6_144, context=256))
    assert torch.equal(actual, corpus.windows(pocket, str(paths.PASSAGES), tokens=6_144, context=256))
    assert len({tuple(window) for window in actual.tolist()}) == len(actual)


def test_windows_are_the_same_in_whatever_order_files_were_made_and_however_they_are_named(
    pocket, tmp_path, monkeypatch
):
    forwards = write_texts(tmp_path / "a", DOCUMENTS)
    backwards = write_texts(tmp_path / "b", DOCUMENTS, order=list(range(len(DOCUMENTS)))[::-1])
    expected = corpus.windows(pocket, str(forwards), 320, 16)
    assert torch.equal(corpus.windows(pocket, str(backwards), 320, 16), expected)
    monkeypatch.chdir(tmp_path)
    assert torch.equal(corpus.windows(pocket, "./b/", 320, 16), expected)


def test_windows_are_the_same_from_every_format(pocket, tmp_path):
    large = pyarrow.array(DOCUMENTS, pyarrow.large_string())
    sources = [
        write_texts(tmp_path / "texts", DOCUMENTS),
        write_jsonl(tmp_path / "c.jsonl", DOCUMENTS),
        write_parquet(tmp_path / "c.parquet", DOCUMENTS),
        write_parquet(tmp_path / "large.parquet", large),
    ]
    first, *others = [corpus.windows(pocket, str(source), 10**6, 16) for source in sources]
    assert all(torch.equal(windows, first) for windows in others)


def test_folder_is_read_with_its_subfolders_and_without_other_files(pocket, tmp_path):
    folder = write_texts(tmp_path / "c", DOCUMENTS[:4])
    expected = corpus.windows(pocket, str(folder), 96, 16)
    (folder / "more").mkdir()
    (folder / "03.txt").rename(folder / "more" / "03.txt")
    (folder / "README.md").write_text("not part of the text")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (folder / "00a.txt").write_text(" \n ")  # nothing in it: no document
    assert torch.equal(corpus.windows(pocket, str(folder), 96, 16), expected)


def test_line_separators_within_a_document_do_not_end_its_line(pocket, tmp_path):
    texts = [DOCUMENTS[0] + separator + DOCUMENTS[1] for separator in "\u2028\u2029\x85\t"]
    plain = write_jsonl(tmp_path / "plain.jsonl", texts, ensure_ascii=False)
    escaped = write_jsonl(tmp_path / "escaped.jsonl", texts, ensure_ascii=True)
    windows = [corpus.windows(pocket, str(path), 160, 16) for path in (plain, escaped)]
    assert torch.equal(*windows)


def test_windows_line_ends_byte_order_marks_blank_lines_and_empty_documents_change_nothing(pocket, tmp_path):
    plain = write_jsonl(tmp_path / "plain.jsonl", DOCUMENTS)
    lines = plain.read_bytes().splitlines()
    odd = tmp_path / "odd.jsonl"
    odd.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join([*lines, b'{"text": " "}']) + b"\r\n")
    nulls = write_parquet(tmp_path / "nulls.parquet", [None, *DOCUMENTS[:5], "", *DOCUMENTS[5:], None])
    expected = corpus.windows(pocket, str(plain), 160, 16)
    assert torch.equal(corpus.windows(pocket, str(odd), 160, 16), expected)
    assert torch.equal(corpus.windows(pocket, str(nulls), 160, 16), expected)


def test_tokens_of_every_tested_architecture_are_ids_of_its_embedding(bridges, checkpoints):
    for kind in ("gpt2", "llama", "qwen2"):
        actual = corpus.windows(bridges[kind], tokens=1024, context=128)
        assert actual.shape == (8, 128)
        assert actual.max() < bridges[kind].original_model.config.vocab_size
        assert len(actual.unique()) > 100


def test_saved_tokens_are_the_windows(pocket):
    windows = corpus.windows(pocket, tokens=256, context=32)
    path = corpus.save_tokens(windows, "some/model")
    assert path == paths.output() / "results" / "some--model" / "tokens.npy"
    assert [file.name for file in path.parent.iterdir()] == ["tokens.npy"]
    assert np.array_equal(np.load(path), windows.numpy())


# --- BOS and EOS


def test_bos_is_the_tokenizers_else_the_configs_else_eos(pocket, own_tokenizer, monkeypatch):
    tokenizer, config = own_tokenizer, pocket.original_model.config
    tokenizer.bos_token, tokenizer.eos_token = "a", "b"
    monkeypatch.setattr(config, "bos_token_id", 7)
    monkeypatch.setattr(config, "eos_token_id", [8, 9])
    a, b = tokenizer.convert_tokens_to_ids(["a", "b"])
    assert vocabulary.boundary_tokens(pocket) == (a, b)
    tokenizer.bos_token = None
    assert vocabulary.boundary_tokens(pocket) == (7, b)
    config.bos_token_id = None
    assert vocabulary.boundary_tokens(pocket) == (b, b)
    tokenizer.eos_token = None
    assert vocabulary.boundary_tokens(pocket) == (8, 8)  # of several, the first
    config.bos_token_id, config.eos_token_id = 7, None
    assert vocabulary.boundary_tokens(pocket) == (7, 7)
    config.bos_token_id = 0  # an id like any other
    assert vocabulary.boundary_tokens(pocket) == (0, 0)
    config.bos_token_id = None
    with pytest.raises(InputError, match="neither a BOS nor an EOS"):
        vocabulary.boundary_tokens(pocket)


def test_bos_and_eos_are_not_mistaken_for_each_other(pocket, own_tokenizer, tmp_path):
    own_tokenizer.bos_token = "a"
    texts = [document(1, words=5), document(2, words=40)]
    window = corpus.windows(pocket, str(write_jsonl(tmp_path / "c.jsonl", texts)), 1, 32)[0].tolist()
    assert window == [own_tokenizer.convert_tokens_to_ids("a"), *stream_of(own_tokenizer, texts)[:31]]
    assert window.count(EOS) == 1


# --- Datasets on the Hub


@pytest.mark.parametrize(
    ("source", "called", "column"),
    [
        ("hf:owner/name", ("owner/name", None), "text"),
        ("hf:owner/name,20231101.en", ("owner/name", "20231101.en"), "text"),
        ("hf:owner/name:content", ("owner/name", None), "content"),
        ("hf:owner/name,some-config:content", ("owner/name", "some-config"), "content"),
    ],
)
def test_dataset_name_config_and_column_are_taken_from_the_option(source, called, column, pocket, hub_dataset):
    other = "content" if column == "text" else "text"
    hub_dataset.rows = [{column: text, other: "not this " * 50} for text in DOCUMENTS]
    actual = corpus.windows(pocket, source, 160, 16)
    assert hub_dataset.calls == [(called, {"split": "train", "streaming": True})]
    assert actual[:, 1:].flatten().tolist() == stream_of(pocket.tokenizer, DOCUMENTS)[:150]


def test_first_windows_of_a_stream_are_taken_and_no_more_is_read_than_that_needs(pocket, hub_dataset):
    hub_dataset.rows = ({"text": document(number)} for number in range(10**9))
    ids = stream_of(pocket.tokenizer, [document(number) for number in range(600)])
    assert len(ids) > 2000 * 15
    documents_needed = ids[: 2000 * 15].count(EOS) + 1
    assert documents_needed > corpus.DOCUMENTS_PER_CALL
    actual = corpus.windows(pocket, "hf:owner/name", 2000 * 16, 16)
    assert actual[:, 1:].flatten().tolist() == ids[: 2000 * 15]
    assert documents_needed <= hub_dataset.read < documents_needed + corpus.DOCUMENTS_PER_CALL


def test_short_stream_gives_the_windows_it_has(pocket, hub_dataset):
    hub_dataset.rows = [{"text": text} for text in DOCUMENTS]
    ids = stream_of(pocket.tokenizer, DOCUMENTS)
    assert len(corpus.windows(pocket, "hf:owner/name", 10**6, 16)) == len(ids) // 15


def test_missing_and_empty_rows_of_a_stream_are_passed_over(pocket, hub_dataset):
    hub_dataset.rows = [{"text": text} for text in (None, "", *DOCUMENTS, " ")]
    actual = corpus.windows(pocket, "hf:owner/name", 160, 16)
    assert actual[:, 1:].flatten().tolist() == stream_of(pocket.tokenizer, DOCUMENTS)[:150]


@pytest.mark.bad_input
def test_stream_without_the_column_is_refused_with_the_columns_there_are(pocket, hub_dataset):
    hub_dataset.rows = [{"content": "a", "id": 1}]
    message = refusal(pocket, "hf:owner/name")
    assert "hf:owner/name has no column 'text'" in message and "content, id" in message and ":COLUMN" in message


@pytest.mark.bad_input
def test_stream_of_something_else_than_text_is_refused(pocket, hub_dataset):
    hub_dataset.rows = [{"text": ["a", "list"]}]
    assert "holds list, not text" in refusal(pocket, "hf:owner/name")


@pytest.mark.bad_input
def test_stream_too_short_for_one_window_is_refused(pocket, hub_dataset):
    hub_dataset.rows = [{"text": "a"}]
    assert "corpus hf:owner/name has" in refusal(pocket, "hf:owner/name")
    hub_dataset.rows = []
    assert "has 0 tokens" in refusal(pocket, "hf:owner/name")


@pytest.mark.bad_input
@pytest.mark.parametrize("error", [ConnectionError("no network\nat all"), ValueError("Unknown split"), OSError()])
def test_dataset_that_cannot_be_reached_is_refused_in_one_line(error, pocket, monkeypatch):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    message = refusal(pocket, "hf:owner/name")
    assert "hf:owner/name cannot be read; check the name and the network" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("source", ["hf:", "hf:,config", "hf::column", "hf:owner/name,", "hf:owner/name:"])
def test_malformed_dataset_option_is_refused(source, pocket, hub_dataset):
    assert "NAME[,CONFIG][:COLUMN]" in refusal(pocket, source)
    assert hub_dataset.calls == []


# --- Refusals


@pytest.mark.bad_input
@pytest.mark.parametrize("content", ["", " \n\t\n "])
@pytest.mark.parametrize("name", ["c.txt", "c.jsonl"])
def test_empty_file_is_refused(content, name, pocket, tmp_path):
    (tmp_path / name).write_text(content)
    message = refusal(pocket, tmp_path / name)
    assert name in message and "is empty" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["c.txt", "c.jsonl"])
@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0", "caf\xe9 ".encode("latin-1") * 50, "the old man".encode("utf-16")]
)
def test_file_that_is_not_utf8_is_refused(content, name, pocket, tmp_path):
    (tmp_path / name).write_bytes(content)
    message = refusal(pocket, tmp_path / name)
    assert name in message and "not UTF-8" in message and "save it as UTF-8" in message


@pytest.mark.bad_input
def test_binary_file_that_happens_to_be_utf8_is_refused(pocket, tmp_path):
    (tmp_path / "c.txt").write_bytes(b"ELF\0\0\0\1" * 100)
    message = refusal(pocket, tmp_path / "c.txt")
    assert "c.txt" in message and "is binary" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("line", ['{"text": "cut off', "plain words", '{"text": "a"} {"text": "b"}', "[" * 100_000])
def test_malformed_json_line_is_refused_by_its_number(line, pocket, tmp_path):
    (tmp_path / "c.jsonl").write_text(f'{{"text": "fine"}}\n\n{line}\n')
    message = refusal(pocket, tmp_path / "c.jsonl")
    assert "c.jsonl, line 3 is not JSON" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("line", ['{"content": "a"}', '{"text": 5}', '{"text": null}', '"text"', "5", "[]"])
def test_json_line_without_text_is_refused_by_its_number(line, pocket, tmp_path):
    (tmp_path / "c.jsonl").write_text(f'{{"text": "fine"}}\n{line}\n')
    message = refusal(pocket, tmp_path / "c.jsonl")
    assert "c.jsonl, line 2 has no text in 'text'" in message


@pytest.mark.bad_input
def test_parquet_file_without_the_column_is_refused_with_the_columns_there_are(pocket, tmp_path):
    message = refusal(pocket, write_parquet(tmp_path / "c.parquet", DOCUMENTS, name="content"))
    assert "c.parquet has no column 'text'" in message and "content, other" in message


@pytest.mark.bad_input
def test_parquet_file_of_numbers_or_of_nothing_is_refused(pocket, tmp_path):
    assert "holds int64, not text" in refusal(pocket, write_parquet(tmp_path / "numbers.parquet", [1, 2]))
    nothing = pyarrow.array([None, None], pyarrow.string())
    assert "nothing.parquet is empty" in refusal(pocket, write_parquet(tmp_path / "nothing.parquet", nothing))


@pytest.mark.bad_input
@pytest.mark.parametrize("content", [b"", b"PAR1 and then something else PAR1"])
def test_broken_parquet_file_is_refused(content, pocket, tmp_path):
    (tmp_path / "c.parquet").write_bytes(content)
    assert "c.parquet is no readable Parquet file" in refusal(pocket, tmp_path / "c.parquet")


@pytest.mark.bad_input
def test_what_is_not_there_is_refused_with_what_can_be_given(pocket, tmp_path):
    for name in ("missing.txt", "missing", "bundeld"):
        message = refusal(pocket, tmp_path / name)
        assert f"no corpus {tmp_path / name}" in message
        assert all(word in message for word in ("'bundled'", ".txt", ".jsonl", ".parquet", "folder", "hf:NAME"))


@pytest.mark.bad_input
def test_other_kinds_of_files_and_folders_of_them_are_refused(pocket, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "c.pdf").write_bytes(b"%PDF")
    for source in (tmp_path / "empty", tmp_path / "c.pdf", tmp_path):
        assert f"corpus {source} holds no .txt, .jsonl, .parquet file" in refusal(pocket, source)


@pytest.mark.bad_input
def test_one_bad_file_of_a_folder_is_refused_by_name(pocket, tmp_path):
    folder = write_texts(tmp_path / "c", DOCUMENTS)
    (folder / "05.txt").write_bytes(b"\xff\xfe")
    assert str(folder / "05.txt") in refusal(pocket, folder)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("tokens", "context", "words"),
    [
        (0, 16, ["tokens is 0", "at least 1"]),
        (-5, 16, ["tokens is -5", "at least 1"]),
        (64, 7, ["context 7 is too short", "at least 8"]),
        (64, 0, ["context 0 is too short", "at least 8"]),
        (64, 257, ["context 257 is above the model's limit of 256", "smaller"]),
    ],
)
def test_lengths_that_make_no_sense_are_refused_before_any_text_is_read(tokens, context, words, pocket):
    message = refusal(pocket, "/no/such/corpus", tokens, context)
    assert not [word for word in words if word not in message], message


def test_shortest_and_longest_context_are_accepted(pocket):
    assert corpus.windows(pocket, tokens=8, context=8).shape == (1, 8)
    assert corpus.windows(pocket, tokens=1, context=256).shape == (1, 256)


def test_every_token_knows_its_document(bridges, tmp_path):
    bridge = bridges["pocket"]
    texts = [
        "One two three four five six seven.",
        "A much longer document about the sea. " * 9,
        "The end of it all." * 5,
    ]
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    tokens = corpus.windows(bridge, str(tmp_path / "text.jsonl"), tokens=96, context=16)
    documents = corpus.documents_of(bridge, str(tmp_path / "text.jsonl"), tokens=96, context=16)
    assert documents.shape == tokens.shape and set(documents[:, 0].tolist()) == {-1}
    _, eos = vocabulary.boundary_tokens(bridge)
    for row, own in zip(tokens[:, 1:], documents[:, 1:], strict=True):
        for number in own.unique().tolist():
            part = [token for token in row[own == number].tolist() if token != eos]
            assert bridge.tokenizer.decode(part).strip() in texts[number]
    assert documents[:, 1:].flatten().tolist() == sorted(documents[:, 1:].flatten().tolist())


def test_a_window_belongs_to_the_document_that_most_of_its_tokens_come_from():
    documents = torch.tensor([[-1, 0, 0, 0, 1], [-1, 1, 2, 2, 3], [-1, 4, 4, 5, 5]])
    rows = pd.DataFrame({"sequence": [2, 0, 1, 0], "layer": [0, 0, 1, 1]})
    assert corpus.with_documents(rows, documents)["document"].tolist() == [4, 0, 2, 0]
    assert "document" not in rows


def test_windows_and_documents_are_by_default_those_of_the_bundled_preset():
    preset = presets.read("pocket")
    for function in (corpus.windows, corpus.documents_of):
        defaults = inspect.signature(function).parameters
        assert all(defaults[name].default == preset[name] for name in ("corpus", "tokens", "context"))
