"""Whatever is typed or read, nothing but ``InputError`` comes out, with one line that can be printed.

Every test draws its cases from the seeds 0, 1, 2, ...: some hundreds by default, and with the environment variable
``COMPANION_FUZZ_SECONDS`` as many as that takes for each test, beginning at ``COMPANION_FUZZ_SEED``. A failure names
its seed:

    COMPANION_FUZZ_SECONDS=60 .venv/bin/python -m pytest tests/test_fuzz.py -n 0
    COMPANION_FUZZ_SEED=1234 .venv/bin/python -m pytest tests/test_fuzz.py -n 0 -x
"""

import io
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from random import Random

import huggingface_hub.constants
import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml

from helpers import models, paths, pipeline
from helpers.command import options, parser, presets
from helpers.engine import announced, architectures, placement, sources
from helpers.errors import InputError
from helpers.text import documents, wic

SECONDS = float(os.environ.get("COMPANION_FUZZ_SECONDS", 0))
FIRST = int(os.environ.get("COMPANION_FUZZ_SEED", 0))
OPTIONS = sorted(word for action in parser.make()._actions for word in action.option_strings)
NUMBERS = [0, 1, -1, 2, 7, 8, 64, 255, 1024, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")]
SCALARS = [*NUMBERS, None, True, False, "", " ", "a", "64", "auto", "\0", "é", "\ud800", "\x1b[31m", "a\nb", "x" * 3000]
WORDS = [
    *(
        "pocket",
        "gpt2",
        "pocket@step100",
        "pocket@",
        "@",
        "@untrained",
        "pocket@untrained",
        "~",
        "~nobody-at-all",
        "~/x",
    ),
    *(
        "loop",
        "loop/x",
        "pipe.txt",
        "a.txt",
        "a.jsonl",
        "a.parquet",
        "empty",
        "nowhere",
        ".",
        "..",
        "./m",
        "m@x",
        "-",
        "--",
    ),
    *(
        "hf:",
        "hf:a/b",
        "hf:a/b,c:d",
        "hf:,",
        "bundled",
        "layer_lesion",
        "mlp_norm,logit_lens",
        ",",
        "untrained",
        "none",
    ),
    *("0", "1", "-1", "64", "9" * 5000, "1e9", "0x10", "²", "٣", "1_000", "nan", str(2**64), "auto", "cpu", "cuda:99"),
    *("map.json", "loop.json", "float32", "int8", "C:\\x", "https://example.org/x", "a" * 300, "a" * 5000),
]


@pytest.fixture
def place(checkpoints, tmp_path, monkeypatch) -> Path:
    """A folder with something of every kind in it, to be in; nothing is asked of any network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    for name in ("loop", "loop.json"):
        (tmp_path / name).symlink_to(name)
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "empty").mkdir()
    shutil.copytree(checkpoints["llama"], tmp_path / "m")
    text = "The old man read a letter by the river. "
    (tmp_path / "a.txt").write_text(text * 9)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}) + "\n" + json.dumps({"text": "b"}) + "\n")
    pyarrow.parquet.write_table(pyarrow.table({"text": [text, None, "b"] * 30}), tmp_path / "a.parquet")
    (tmp_path / "map.json").write_text(json.dumps({"": "cpu", "model.layers.1": "disk"}))
    (tmp_path / "a.data.txt").write_text("bank\tN\t1-4\tThe bank was shut .\tThey sat on the bank .\n" * 3)
    (tmp_path / "a.gold.txt").write_text("T\n" * 3)
    return tmp_path


def draws(by_default: int) -> Iterator[Random]:
    """A random generator for each case, with its seed in ``seed``."""
    ends, seed = time.monotonic() + SECONDS, FIRST
    while seed < FIRST + by_default or time.monotonic() < ends:
        yield Random(seed)
        seed += 1


def survives(run: Callable[[Random], object], by_default: int) -> None:
    """Every case ends well or with one printable line, and at least some end in either way."""
    refused, ended = set(), 0
    for number, draw in enumerate(draws(by_default)):
        try:
            with warnings.catch_warnings(action="ignore"):
                run(draw)
            ended += 1
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) <= 1000, f"seed {FIRST + number}"
            refused.add(str(error)[-40:])
        except BaseException as error:
            error.add_note(f"seed {FIRST + number}")
            raise
    print(f"{number + 1} cases, {ended} good, {len(refused)} kinds of refusals")
    assert refused and ended


def mutated(draw: Random, content: bytes) -> bytes:
    """A few bytes changed, left out, doubled or cut off, or everything replaced."""
    if draw.random() < 0.1:
        return draw.randbytes(draw.choice([0, 1, 7, 8, 300]))
    changed = bytearray(content)
    for _ in range(draw.choice([0, 1, 1, 2, 5, 20])):
        at = draw.randrange(len(changed) + 1)
        how = draw.randrange(5)
        if how == 0:
            changed[at : at + 1] = draw.randbytes(1)
        elif how == 1:
            del changed[at : at + draw.choice([1, 4, 100])]
        elif how == 2:
            changed[at:at] = changed[at : at + draw.choice([1, 8, 50])]
        elif how == 3:
            changed[at:at] = draw.choice(
                [b"\0", b"\xff\xfe", b'"', b"{", b"]" * 9, b"[" * 2000, b"\n", b"-", b"9" * 30]
            )
        else:
            del changed[at:]
    return bytes(changed)


def some_value(draw: Random, depth: int = 0) -> object:
    kind = draw.randrange(8) if depth < 3 else 0
    if kind == 6:
        return [some_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 7:
        return {str(draw.choice(SCALARS)): some_value(draw, depth + 1) for _ in range(draw.randrange(4))}
    return draw.choice(SCALARS)


def some_word(draw: Random) -> str:
    word = draw.choice(WORDS) if draw.random() < 0.9 else "".join(map(chr, draw.choices(range(1, 0x2FF), k=6)))
    return draw.choice([word, word, word, f"{word}{draw.choice(WORDS)}", word[:: draw.choice([1, -1])]])


def some_command_line(draw: Random) -> list[str]:
    words = []
    for _ in range(draw.randrange(5)):
        option, value = draw.choice(OPTIONS), some_word(draw)
        words += draw.choice([[option, value], [option, value], [f"{option}={value}"], [option], [value]])
    return words


def test_a_command_line_is_read_or_refused(place):
    def run(draw: Random) -> None:
        words = some_command_line(draw)
        try:
            with redirect_stdout(io.StringIO()):
                chosen = options.read(words)
        except SystemExit as ended:
            assert ended.code == 0 and {"-h", "--help"}.intersection(words)
            return
        for model in chosen.models:
            sources.find(model)
            paths.results(model)
        if chosen.corpus in WORDS and not documents.is_streamed(chosen.corpus):
            list(documents.documents(chosen.corpus))
        placement.device_name(chosen.device)

    survives(run, 400)


def test_a_list_of_jobs_ends_with_a_status_and_at_most_one_line(place, capsys):
    def run(draw: Random) -> None:
        words = [word for word in some_command_line(draw) if word not in ("-h", "--help")]
        status = pipeline.main([*words, "--list"])
        said = capsys.readouterr()
        assert status in (0, 2) and said.err.count("\n") == (status == 2), (words, said.err)
        assert bool(said.out) == (status == 0)
        if status == 2:
            raise InputError(said.err)

    survives(run, 60)


def test_a_preset_is_read_or_refused(place, monkeypatch):
    monkeypatch.setattr(paths, "PRESETS", place)
    good = presets.DEFAULTS | {"models": ["m"], "corpus": "a.txt", "tokens": 9, "context": 8, "control": "none"}

    def run(draw: Random) -> None:
        content = dict(good)
        for _ in range(draw.choice([0, 1, 1, 2])):
            content[draw.choice([*good, *map(str, SCALARS[:2])])] = some_value(draw)
        text = yaml.dump(content, allow_unicode=True).encode(errors="surrogatepass")
        (place / "mine.yaml").write_bytes(mutated(draw, text) if draw.random() < 0.5 else text)
        options.read(["--preset", "mine", *draw.choice([[], ["--only", "mlp_norm"]])])

    survives(run, 150)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
def test_a_text_is_read_or_refused(name, place):
    good = (place / name).read_bytes()

    def run(draw: Random) -> None:
        if name == "a.jsonl" and draw.random() < 0.5:
            text = "".join(json.dumps({"text": some_value(draw)}) + "\n" for _ in range(draw.randrange(4))).encode()
        else:
            text = mutated(draw, good)
        (place / name).write_bytes(text)
        for read in documents.documents(name):
            assert read.strip() and read.encode()

    survives(run, 200)


@pytest.mark.parametrize("name", ["a.data.txt", "a.gold.txt"])
def test_word_in_context_files_are_read_or_refused(name, place):
    good = (place / name).read_bytes()

    def run(draw: Random) -> None:
        (place / name).write_bytes(mutated(draw, good))
        for pair in wic.pairs(place).to_dict("records"):
            assert pair["first"][slice(*pair["first_span"])] and pair["second"][slice(*pair["second_span"])]

    survives(run, 200)


def test_a_device_map_is_read_or_refused(place, bridges):
    good, model = (place / "map.json").read_bytes(), bridges["llama"].original_model

    def run(draw: Random) -> None:
        content = json.dumps({draw.choice(["", "model", "model.layers.1"]): some_value(draw, 2)}).encode()
        (place / "map.json").write_bytes(draw.choice([content, mutated(draw, good)]))
        for layer in range(4):
            placement._place(placement.device_map("map.json", model, torch.float32), f"model.layers.{layer}")

    survives(run, 200)


def test_a_config_is_believed_or_refused(place):
    """With its weights, but without loading them."""
    file = place / "m" / "config.json"
    good = json.loads(file.read_text())

    def run(draw: Random) -> None:
        content = dict(good)
        for _ in range(draw.choice([0, 1, 1, 1, 2])):
            content[draw.choice(list(good))] = some_value(draw)
        text = json.dumps(content).encode()
        file.write_bytes(text if draw.random() < 0.8 else mutated(draw, text))
        source = sources.find(draw.choice(["./m", "./m", "./m@untrained"]))
        announced.check_size(source, architectures.skeleton(architectures.read(source)))

    survives(run, 60)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_checkpoint_loads_or_is_refused(name, place):
    """Byte by byte: in the weights only the header is changed, since any other bytes are numbers as well."""
    file = place / "m" / name
    good = file.read_bytes()
    head = 8 + int.from_bytes(good[:8], "little") if name.endswith("safetensors") else len(good)

    def run(draw: Random) -> None:
        changed = good[:head] if draw.random() < 0.1 else mutated(draw, good[:head])
        file.write_bytes(changed + good[head:])
        models.load("./m")(torch.arange(9)[None])

    survives(run, 25)
