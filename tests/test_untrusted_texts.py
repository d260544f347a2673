"""Texts, presets, device maps and names of files: each kind of bad one, and the one line that refuses it.

Nothing here may hang: a pipe, a socket or a device is never opened. Nothing may fill the memory: a file is read only if
it fits, and a small file that stands for a large text only as far as that fits.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml

from helpers import corpus, paths, pipeline
from helpers.command import options, presets
from helpers.engine import placement
from helpers.errors import InputError
from helpers.text import documents, parquet, wic

LINE = "The old man read a letter by the river.\n"
Make = Callable[[Path], object]


def written(name: str, content: str | bytes = LINE, *others: Make) -> Make:
    def make(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        for other in others:
            other(folder)

    return make


def column(values: object, kind: pyarrow.DataType | None = None, name: str = "text", keep: int | None = None) -> Make:
    """A Parquet file with one column, cut off after ``keep`` bytes."""

    def make(folder: Path) -> None:
        pyarrow.parquet.write_table(pyarrow.table({name: pyarrow.array(values, kind)}), folder / "a.parquet")
        if keep is not None:
            os.truncate(folder / "a.parquet", keep)

    return make


def of_bytes(*values: bytes) -> pyarrow.Array:
    """An array that calls itself text and holds these bytes."""
    return pyarrow.Array.from_buffers(pyarrow.string(), len(values), pyarrow.array(values).buffers())


def two_columns_of_one_name(folder: Path) -> None:
    both = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array([1])], names=["text", "text"])
    pyarrow.parquet.write_table(both, folder / "a.parquet")


def damaged_in_the_middle(folder: Path) -> None:
    column([str(number) * 50 for number in range(1000)])(folder)
    content = bytearray((folder / "a.parquet").read_bytes())
    content[len(content) // 3 : len(content) // 3 + 200] = bytes(200)
    (folder / "a.parquet").write_bytes(content)


def bound_socket(name: str) -> Make:
    def make(folder: Path) -> None:
        with (
            working_in(folder),
            socket.socket(socket.AF_UNIX) as made,
        ):  # its address may be no longer than 100 bytes
            made.bind(name)

    return make


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def pipe(name: str) -> Make:
    return lambda folder: os.mkfifo(folder / name)


def link(name: str, to: str) -> Make:
    return lambda folder: (folder / name).symlink_to(to)


def as_long_as(name: str, size: int) -> Make:
    return written(name, b"x", lambda folder: os.truncate(folder / name, size))


def row(value: object) -> Make:
    return written("a.jsonl", json.dumps({"text": value}))


NO_TEXT = "a.jsonl, line 1 has no text in 'text'"
NO_FILE = "holds no .txt, .jsonl, .parquet file"
NO_PATH = "is no path that can be followed"
TEXTS: dict[str, tuple[Make, str, str]] = {  # what is made, which of it is the corpus, what the refusal says
    "UTF-16": (written("a.txt", LINE.encode("utf-16")), "a.txt", "a.txt is UTF-16, not UTF-8: save it as UTF-8 text"),
    "UTF-16, big end first": (written("a.txt", b"\xfe\xff" + LINE.encode("utf-16-be")), "a.txt", "a.txt is UTF-16"),
    "UTF-16 without a mark": (written("a.txt", LINE.encode("utf-16-le")), "a.txt", "it has null bytes"),
    "UTF-16 of JSON": (written("a.jsonl", '{"text": "a"}'.encode("utf-16")), "a.jsonl", "a.jsonl is UTF-16"),
    "UTF-32": (written("a.txt", LINE.encode("utf-32")), "a.txt", "a.txt is UTF-32, not UTF-8"),
    "Latin-1": (written("a.txt", "café".encode("latin-1")), "a.txt", "a.txt is binary or not UTF-8"),
    "a compressed file": (written("a.txt", b"\x1f\x8b\x08" + bytes(range(256))), "a.txt", "is binary or not UTF-8"),
    "a null byte": (written("a.txt", "a\0b"), "a.txt", "a.txt is binary, not text, since it has null bytes"),
    "a null byte in JSON": (written("a.jsonl", '{"text": "a\0b"}'), "a.jsonl", "it has null bytes"),
    "half of a surrogate pair": (written("a.jsonl", r'{"text": "\ud800"}'), "a.jsonl", r"line 1 holds '\ud800', half"),
    "half of a surrogate pair in bytes": (written("a.txt", b"a\xed\xa0\x80b"), "a.txt", "is binary or not UTF-8"),
    "a byte order mark alone": (written("a.txt", b"\xef\xbb\xbf"), "a.txt", "a.txt is empty"),
    "line ends alone": (written("a.txt", "\r\n\r\n"), "a.txt", "a.txt is empty"),
    "null for text": (row(None), "a.jsonl", NO_TEXT),
    "a number for text": (row(5), "a.jsonl", NO_TEXT),
    "a truth value for text": (row(True), "a.jsonl", NO_TEXT),
    "a list for text": (row(["a"]), "a.jsonl", NO_TEXT),
    "a mapping for text": (row({"a": "b"}), "a.jsonl", NO_TEXT),
    "text that is overwritten": (written("a.jsonl", '{"text": "a", "text": 5}'), "a.jsonl", NO_TEXT),
    "text under another name": (written("a.jsonl", '{"Text": "a"}'), "a.jsonl", NO_TEXT),
    "JSON in one list": (written("a.jsonl", '[{"text": "a"}]'), "a.jsonl", NO_TEXT),
    "no number": (written("a.jsonl", "NaN"), "a.jsonl", NO_TEXT),
    "JSON over several lines": (written("a.jsonl", '{\n"text": "a"\n}'), "a.jsonl", "line 1 is not JSON"),
    "JSON nested too deeply": (written("a.jsonl", '{"text": ' + "[" * 10**5), "a.jsonl", "line 1 is not JSON"),
    "a number of a million digits": (written("a.jsonl", "9" * 10**6), "a.jsonl", "line 1 is not JSON"),
    "a pipe": (pipe("x.txt"), "x.txt", "x.txt is a pipe, not a file"),
    "a pipe of JSON": (pipe("x.jsonl"), "x.jsonl", "x.jsonl is a pipe, not a file"),
    "a pipe of Parquet": (pipe("x.parquet"), "x.parquet", "x.parquet is a pipe, not a file"),
    "a pipe among texts": (written("a.txt", LINE, pipe("x.txt")), ".", "x.txt is a pipe, not a file"),
    "a socket": (bound_socket("x.txt"), "x.txt", "x.txt is a socket, not a file"),
    "a socket among texts": (written("a.txt", LINE, bound_socket("x.txt")), ".", "x.txt is a socket, not a file"),
    "a device without an end": (link("x.txt", "/dev/zero"), "x.txt", "x.txt is a device, not a file"),
    "a device among texts": (written("a.txt", LINE, link("x.txt", "/dev/zero")), ".", "x.txt is a device, not a file"),
    "a broken link": (link("x.txt", "nowhere"), "x.txt", "x.txt: give 'bundled'"),
    "a broken link among texts": (written("a.txt", LINE, link("x.txt", "nowhere")), ".", "x.txt cannot be read"),
    "a looping link": (link("x.txt", "x.txt"), "x.txt", "x.txt"),
    "a looping link among texts": (written("a.txt", LINE, link("x.txt", "x.txt")), ".", "x.txt cannot be read"),
    "two links in a circle": (written("a", LINE, link("b", "c"), link("c", "b")), "c", "/c"),
    "a folder called as a text": (lambda folder: (folder / "x.txt").mkdir(), "x.txt", NO_FILE),
    "empty folders in each other": (lambda folder: (folder / "a" / "b" / "c").mkdir(parents=True), ".", NO_FILE),
    "a file used as a folder": (written("a.txt"), "a.txt/b.txt", "a.txt/b.txt: give 'bundled'"),
    "a file without an ending": (written("text"), "text", NO_FILE),
    "a text of 10 TB": (as_long_as("a.txt", 10**13), "a.txt", "a.txt has 10,000,000,000,000 bytes, too many"),
    "JSON of 10 TB": (as_long_as("a.jsonl", 10**13), "a.jsonl", "bytes, too many to be read here"),
    "the home of nobody": (written("a.txt"), "~nobody-of-this-name", NO_PATH),
    "below the home of nobody": (written("a.txt"), "~nobody-of-this-name/a.txt", NO_PATH),
    "a null byte in a name": (written("a.txt"), "a\0.txt", NO_PATH),
    "a name of 5,000 letters": (written("a.txt"), "a" * 5000 + ".txt", NO_PATH),
    "control characters in a name": (written("a.txt"), "\x1b[31m\r\n.txt", r"\x1b[31m"),
    "bytes in a name": (written("a\udcff.txt", b"\xff"), "a\udcff.txt", r"a\udcff.txt is binary or not UTF-8"),
    "a name of blanks": (written("a.txt"), "  ", "no corpus"),
    "numbers in Parquet": (column([1, 2]), "a.parquet", "column 'text' holds int64, not text"),
    "fractions in Parquet": (column([0.5]), "a.parquet", "column 'text' holds double, not text"),
    "truth values in Parquet": (column([True]), "a.parquet", "column 'text' holds bool, not text"),
    "bytes in Parquet": (column([b"a"]), "a.parquet", "column 'text' holds binary, not text"),
    "lists in Parquet": (column([["a"]]), "a.parquet", "column 'text' holds list<element: string>, not text"),
    "mappings in Parquet": (column([{"a": "b"}]), "a.parquet", "column 'text' holds struct<a: string>, not text"),
    "times in Parquet": (column([2**40], pyarrow.timestamp("ms")), "a.parquet", "holds timestamp[ms], not text"),
    "nulls in Parquet": (column([None, None]), "a.parquet", "a.parquet is empty"),
    "nothing in Parquet": (column([], pyarrow.string()), "a.parquet", "a.parquet is empty"),
    "text in Parquet that is no Unicode": (column(of_bytes(b"\xff\xfe")), "a.parquet", "is no readable Parquet file"),
    "Parquet under another name": (column(["a"], name="te\nxt\x1b[31m"), "a.parquet", r"(it has: te xt\x1b[31m)"),
    "Parquet with two columns of one name": (two_columns_of_one_name, "a.parquet", "has 2 columns 'text'"),
    "Parquet cut at the end": (column(["abc"] * 50, keep=200), "a.parquet", "is no readable Parquet file"),
    "Parquet cut to its mark": (column(["abc"] * 50, keep=4), "a.parquet", "is no readable Parquet file"),
    "Parquet of no bytes": (written("a.parquet", b""), "a.parquet", "is no readable Parquet file"),
    "Parquet damaged in the middle": (damaged_in_the_middle, "a.parquet", "is no readable Parquet file"),
    "text called Parquet": (written("a.parquet", LINE * 99), "a.parquet", "is no readable Parquet file"),
}  # fmt: skip

PAIR = "bank\tN\t1-4\tThe bank was shut .\tThey sat on the bank ."
WIC: dict[str, tuple[Make, str]] = {
    "a pipe": (written("a.gold.txt", "T\n", pipe("a.data.txt")), "a.data.txt is a pipe"),
    "a pipe of labels": (written("a.data.txt", PAIR, pipe("a.gold.txt")), "a.gold.txt is a pipe"),
    "UTF-16": (written("a.data.txt", PAIR.encode("utf-16"), written("a.gold.txt", "T")), "a.data.txt is UTF-16"),
    "null bytes": (written("a.data.txt", PAIR + "\0", written("a.gold.txt", "T")), "it has null bytes"),
    "10 TB": (as_long_as("a.data.txt", 10**13), "too many to be read here"),
    "a looping link": (link("a.data.txt", "a.data.txt"), "a.data.txt"),
    "a place beyond all words": (
        written("a.data.txt", PAIR.replace("1-4", "9" * 9 + "-4"), written("a.gold.txt", "T")),
        "of 5 words",
    ),
    "a place of too many digits": (
        written("a.data.txt", PAIR.replace("1-4", "9" * 5000 + "-4"), written("a.gold.txt", "T")),
        "must hold word, part of speech, i-j",
    ),
}

PRESET = {"models": ["pocket"], "corpus": "bundled", "tokens": 100, "context": 16, "control": "none"}
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
PRESETS: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "is not a YAML mapping"),
    "a list": ("[1]", "is not a YAML mapping"),
    "a number": ("5", "is not a YAML mapping"),
    "null": ("null", "is not a YAML mapping"),
    "broken YAML": ("{", "is not YAML: mend it"),
    "YAML nested too deeply": ("[" * 50_000, "is not YAML: mend it"),
    "a date that is none": ("seed: 2020-99-99", "is not YAML: mend it"),
    "a number of 5,000 digits": ("seed: " + "9" * 5000, "is not YAML: mend it"),
    "an object of Python": ("seed: !!python/object/apply:os.getcwd []", "is not YAML: mend it"),
    "a key that is a list": ("? [a]\n: b", "is not YAML: mend it"),
    "keys of several types": ("5: a\nnull: b\nc: d", "has unknown or missing keys: 5, None, c"),
    "a small file that stands for a large one": (LAUGHS, "has unknown or missing keys: a0, a1"),
    "a large value under a known key": (LAUGHS.replace("a29:", "seed:"), "has unknown or missing keys"),
    "UTF-16": ("a: b".encode("utf-16"), "is UTF-16, not UTF-8"),
    "Latin-1": ("é: b".encode("latin-1"), "is binary or not UTF-8"),
    "null bytes": ("a: b\0", "it has null bytes"),
    "a megabyte": ("# " + "x" * 10**6, "has 1,000,002 bytes, too many"),
    "a model that is a number": (yaml.dump(PRESET | {"models": [5]}), "models is [5], it should be like ['gpt2']"),
    "a model that is null": (yaml.dump(PRESET | {"models": [None]}), "models is [None], it should be like"),
    "a model without a name": (yaml.dump(PRESET | {"models": [""]}), "models is [''], it should be like"),
    "no models": (yaml.dump(PRESET | {"models": []}), "names no model: add one to models"),
    "a revision that is a number": (yaml.dump(PRESET | {"checkpoints": [1]}), "checkpoints is [1], it should be like"),
    "tokens that are true": (yaml.dump(PRESET | {"tokens": True}), "tokens is True, it should be like 20000"),
    "tokens that are null": (yaml.dump(PRESET | {"tokens": None}), "tokens is None, it should be like 20000"),
    "a corpus that is a list": (yaml.dump(PRESET | {"corpus": ["a"]}), "corpus is ['a'], it should be like 'bundled'"),
    "a device that is a number": (yaml.dump(PRESET | {"device": 0}), "device is 0, it should be like 'auto'"),
    "a batch of a list": (yaml.dump(PRESET | {"batch_size": [1]}), "batch_size is [1], it should be like ('auto', 8)"),
}  # fmt: skip

DEVICE_MAPS: dict[str, tuple[Make, str]] = {
    "a pipe": (pipe("map.json"), "map.json is a pipe, not a file"),
    "a device without an end": (link("map.json", "/dev/zero"), "zero is a device, not a file"),
    "a looping link": (link("map.json", "map.json"), "map.json"),
    "JSON nested too deeply": (written("map.json", "[" * 10**5), "cannot be read: write it as JSON"),
    "UTF-16": (written("map.json", "{}".encode("utf-16")), "map.json is UTF-16, not UTF-8"),
    "a hundred megabytes": (as_long_as("map.json", 10**8), "map.json has 100,000,000 bytes, too many"),
    "a place that is null": (written("map.json", '{"": null}'), "should look like"),
    "a place that is a list": (written("map.json", '{"": ["cpu"]}'), "should look like"),
    "a place that is true": (written("map.json", '{"": true}'), "should look like"),
    "a place that is a fraction": (written("map.json", '{"": 0.5}'), "should look like"),
}

NAMES: dict[str, tuple[list[str], str]] = {  # command lines on which a file or folder is named
    "a model in the home of nobody": (["--model", "~nobody-of-this-name/m"], "no folder ~nobody-of-this-name/m"),
    "a model that is the home of nobody": (["--model", "~nobody-of-this-name"], "~nobody-of-this-name"),
    "a model of looping links": (["--model", "./loop"], "no folder ./loop"),
    "a model beyond looping links": (["--model", "./loop/m"], "no folder ./loop/m"),
    "a model with a null byte": (["--model", "a\0b"], NO_PATH),
    "a model of control characters": (["--model", "\x1b[31m"], r"no model '\x1b[31m'"),
    "a model that is a pipe": (["--model", "./pipe.txt"], "no folder ./pipe.txt"),
    "a revision with a null byte": (["--model", "pocket@a\0b"], NO_PATH),
    "a model of 5,000 letters": (["--model", "a" * 5000], NO_PATH),
    "a corpus in the home of nobody": (["--corpus", "~nobody-of-this-name/a.txt"], NO_PATH),
    "a corpus of looping links": (["--corpus", "loop"], "loop"),
    "a corpus with a null byte": (["--corpus", "a\0b"], NO_PATH),
    "a corpus that is a pipe": (["--corpus", "pipe.txt"], "pipe.txt is a pipe, not a file"),
    "an output in the home of nobody": (["--output", "~nobody-of-this-name/out"], NO_PATH),
    "an output of looping links": (["--output", "loop"], "loop"),
    "an output beyond looping links": (["--output", "loop/out"], "loop"),
    "an output with a null byte": (["--output", "a\0b"], NO_PATH),
    "an output that is a pipe": (["--output", "pipe.txt"], "output folder"),
    "a preset with a null byte": (["--preset", "a\0b"], r"no preset 'a\x00b'"),
}  # fmt: skip


def cases(table: dict, names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(names.split(), table.values(), ids=table)


@contextmanager
def refused(words: str) -> Iterator[None]:
    with pytest.raises(InputError) as caught:
        yield
    message = str(caught.value)
    assert words in message
    assert message.isprintable() and len(message) <= 1000


def pretended_memory(monkeypatch, n_bytes: int) -> None:
    monkeypatch.setattr(parquet.psutil, "virtual_memory", lambda: SimpleNamespace(available=n_bytes))


@pytest.mark.bad_input
@cases(TEXTS, "make name words")
def test_a_bad_text_is_refused_in_one_line(make, name, words, tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    with refused(words):
        list(documents.documents(name if name.startswith("~") else f"{tmp_path}/{name}" if name.strip() else name))


@pytest.mark.bad_input
@cases(WIC, "make words")
def test_bad_word_in_context_files_are_refused_in_one_line(make, words, tmp_path):
    make(tmp_path)
    with refused(words):
        wic.pairs(tmp_path)


@pytest.mark.bad_input
@cases(PRESETS, "content words")
def test_a_bad_preset_is_refused_in_one_line(content, words, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    (tmp_path / "mine.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(words):
        options.read(["--preset", "mine"])


@pytest.mark.bad_input
@pytest.mark.parametrize("make", [pipe("mine.yaml"), lambda folder: (folder / "mine.yaml").mkdir()])
def test_a_preset_that_is_no_file_is_refused(make, tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    with refused("not a file"):
        presets.read("mine")


@pytest.mark.bad_input
@cases(DEVICE_MAPS, "make words")
def test_a_bad_device_map_is_refused_in_one_line(make, words, bridges, tmp_path):
    make(tmp_path)
    with refused(words):
        placement.device_map(f"{tmp_path}/map.json", bridges["llama"].original_model, torch.float32)


@pytest.mark.bad_input
@cases(NAMES, "arguments words")
def test_a_name_that_cannot_be_followed_ends_the_program_with_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    link("loop", "loop")(tmp_path)
    pipe("pipe.txt")(tmp_path)
    assert pipeline.main([*arguments, "--only", "mlp_norm", "--control", "none"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("run_all.sh: ") and words in said
    assert said.count("\n") == 1 and said.removesuffix("\n").isprintable()


def test_a_link_to_a_text_is_read_under_its_own_name(tmp_path):
    written("stored without an ending")(tmp_path)
    link("a.txt", "stored without an ending")(tmp_path)
    assert list(documents.documents(f"{tmp_path}/a.txt")) == list(documents.documents(str(tmp_path))) == [LINE]


def test_a_folder_that_leads_back_to_itself_is_read_once(tmp_path):
    written("a.txt", LINE, link("up", "."))(tmp_path)
    assert list(documents.documents(str(tmp_path))) == [LINE]


def test_whole_surrogate_pairs_and_null_characters_of_json_are_text(tmp_path):
    written("a.jsonl", r'{"text": "a\ud83d\ude00\u0000"}')(tmp_path)
    assert list(documents.documents(f"{tmp_path}/a.jsonl")) == ["a😀\0"]


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.string_view()])
def test_every_kind_of_text_in_parquet_is_read(kind, tmp_path):
    column(["a", None, "b"], kind)(tmp_path)
    assert list(documents.documents(f"{tmp_path}/a.parquet")) == ["a", "b"]


@pytest.mark.bad_input
def test_a_folder_below_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    written("a.txt", LINE, written("below/b.txt"))(tmp_path)
    scan = os.scandir

    def forbidding(place):
        if str(place).endswith("below"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", forbidding)
    with refused("below cannot be read: Permission denied"):
        list(documents.documents(str(tmp_path)))


@pytest.mark.bad_input
def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    written("a.txt")(tmp_path)

    def forbid(path, *_args, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", forbid)
    with refused("a.txt cannot be read: Permission denied"):
        list(documents.documents(f"{tmp_path}/a.txt"))


@pytest.mark.bad_input
def test_a_text_larger_than_half_of_the_free_memory_is_refused(tmp_path, monkeypatch):
    written("a.txt", "x" * 1000)(tmp_path)
    pretended_memory(monkeypatch, 2000)
    assert list(documents.documents(f"{tmp_path}/a.txt")) == ["x" * 1000]
    pretended_memory(monkeypatch, 1999)
    with refused("a.txt has 1,000 bytes, too many to be read here (at most 999)"):
        list(documents.documents(f"{tmp_path}/a.txt"))


@pytest.mark.bad_input
def test_texts_that_are_together_larger_than_memory_are_refused(tmp_path, monkeypatch):
    for name in "abcd":
        written(f"{name}.txt", name * 1000)(tmp_path)
    pretended_memory(monkeypatch, 6000)
    with refused(f"is larger than the free memory (read up to {tmp_path}/d.txt): give less text"):
        list(documents.documents(str(tmp_path)))


@pytest.mark.bad_input
def test_a_small_parquet_file_that_stands_for_a_large_text_is_read_only_as_far_as_it_fits(tmp_path, monkeypatch):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x" * 10**6] * 200}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 10**6
    pretended_memory(monkeypatch, 40 * 10**6)
    largest = []
    batches = pyarrow.parquet.ParquetFile.iter_batches

    def noting(file, rows, **options):
        for batch in batches(file, rows, **options):
            largest.append(batch.nbytes)
            yield batch

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", noting)
    with refused("is larger than the free memory"):
        list(documents.documents(f"{tmp_path}/a.parquet"))
    assert max(largest) < 6 * 10**6, "an eighth of the memory"
    assert len(largest) < 10
    pretended_memory(monkeypatch, 10**6)
    with refused("has row groups of"):
        list(documents.documents(f"{tmp_path}/a.parquet"))


def test_one_long_line_is_tokenised_in_pieces_that_give_the_same_tokens(bridges, tmp_path, monkeypatch):
    words = "the old man read a letter by the river and put it away until the rain had stopped".split()
    text = " ".join(words[number * number % len(words)] for number in range(20_000))
    written("a.txt", text)(tmp_path)
    whole = corpus.windows(bridges["pocket"], f"{tmp_path}/a.txt", 10**6, 64)
    calls = []
    tokenise = corpus._pieces
    monkeypatch.setattr(corpus, "CHARACTERS_PER_CALL", 1000)
    monkeypatch.setattr(corpus, "_pieces", lambda text: [calls.append(len(p)) or p for p in tokenise(text)])
    assert corpus.windows(bridges["pocket"], f"{tmp_path}/a.txt", 10**6, 64).tolist() == whole.tolist()
    assert max(calls) <= 1000 and sum(calls) == len(text)


def test_a_long_run_without_spaces_is_cut_where_it_must_be(monkeypatch):
    monkeypatch.setattr(corpus, "CHARACTERS_PER_CALL", 10)
    assert list(corpus._pieces("x" * 25)) == ["x" * 10, "x" * 10, "x" * 5]
    assert list(corpus._pieces("one two three four")) == ["one two", " three", " four"]
    assert list(corpus._pieces(" " + "x" * 12)) == [" " + "x" * 9, "xxx"]


@pytest.mark.slow
def test_a_line_of_fifty_megabytes_is_read_in_seconds(tmp_path):
    written("a.jsonl", json.dumps({"text": "word " * 10**7}))(tmp_path)
    started = time.perf_counter()
    (text,) = documents.documents(f"{tmp_path}/a.jsonl")
    assert len(text) == 5 * 10**7
    assert time.perf_counter() - started < 20


@pytest.mark.bad_input
def test_a_tokenizer_that_gives_up_on_a_text_is_refused_in_one_line(bridges, tmp_path, monkeypatch):
    class PanicError(BaseException):
        """As those of libraries in Rust, it is no ``Exception``."""

    def panic(*_args, **_options):
        raise PanicError("retry-limit-in-match over\nmore")

    written("a.txt")(tmp_path)
    monkeypatch.setattr(corpus, "_ids", panic)
    with refused("the model's tokenizer cannot read the text"):
        corpus.windows(bridges["pocket"], f"{tmp_path}/a.txt", 64, 16)
