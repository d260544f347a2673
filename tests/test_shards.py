"""A long text measured in parts gives what one run gives, to the byte."""

import json
import shutil
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
import torch
from commands import MADE

from helpers import models, paths, pipeline, tables
from helpers.command import limits, options, shards
from helpers.command.jobs import Shard
from helpers.errors import InputError

TEXT = "The ferry left at six, and nobody on the quay thought it would come back. " * 40
SMALL = ["--tokens", "640", "--context", "64", "--batch-size", "4", "--seed", "3"]


@pytest.fixture(scope="module")
def command(checkpoints, tmp_path_factory) -> list[str]:
    text = tmp_path_factory.mktemp("text") / "my.txt"
    text.write_text(TEXT)
    return ["--model", str(checkpoints["llama"]), "--corpus", str(text), *SMALL, "--no-pages", "--jobs", "1"]


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path / "out"))
    return tmp_path / "out"


def kept(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.suffix in MADE and file.parent.name != "shards"
    }


def shard(number: int = 1, of: int = 2, **parameters) -> Shard:
    given = {"control": "none", "corpus": "bundled", "batch_size": 2, "dtype": "float32", "device": "cpu", "seed": 0}
    return Shard("pocket", "mlp_norm", number, of, given | parameters, "inputs")


@pytest.mark.parametrize("n_sequences", [1, 7, 8, 24])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("n_shards", [1, 2, 5, 30])
def test_shards_are_whole_batches_and_together_everything(n_sequences, batch_size, n_shards):
    parts = shards.cut(n_sequences, batch_size, n_shards)
    assert len(parts) == n_shards
    assert [number for part in parts for number in part] == list(range(n_sequences))
    assert all(part.start % batch_size == 0 for part in parts if part)
    batches = [-(-len(part) // batch_size) for part in parts]
    assert max(batches) - min(batches) <= 1


@pytest.mark.parametrize("slug", limits.SHARDED)
@pytest.mark.parametrize("kind", ["neox_parallel", "llama"])
def test_the_rows_of_all_shards_are_those_of_one_sweep(slug, kind, checkpoints):
    bridge = models.load(str(checkpoints[kind]))
    tokens = torch.randint(bridge.cfg.d_vocab, (7, 24), generator=torch.Generator().manual_seed(0))
    sweep = shards.SWEEPS[slug]
    parts = [sweep(bridge, tokens, 2, only=part) for part in shards.cut(7, 2, 3)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), sweep(bridge, tokens, 2), check_exact=True)


def test_the_notebooks_that_take_shards_are_those_that_can_be_cut():
    takes = {
        options.slug_of(notebook)
        for notebook in options.experiment_notebooks()
        if "shards: int" in notebook.read_text(encoding="utf8")
    }
    assert takes == set(limits.SHARDED) == set(shards.SWEEPS)


@pytest.mark.slow
def test_shards_make_the_tables_and_figures_of_one_run_to_the_byte(command, output, tmp_path, monkeypatch, capsys):
    only = [*command, "--only", "mlp_norm"]
    assert pipeline.main(only) == 0
    whole = kept(output)
    output = tmp_path / "cut"
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(output))
    for number in (2, 1):
        assert pipeline.main([*only, "--shards", "2", "--shard", str(number)]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", None)  # every shard is there: none is measured again
        patched.setattr("helpers.command.run_record.git_commit", lambda: None)
        assert pipeline.main([*only, "--shards", "2"]) == 0
    assert kept(output) == whole
    executed = next(output.rglob("05_mlp_norm.ipynb"))
    assert any("shards = 2" in cell.source for cell in nbformat.read(executed, as_version=4).cells)

    first, second = sorted((paths.results(command[1]) / "shards").glob("mlp_norm-*of2.parquet"))
    before = first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:-9])
    shutil.rmtree(output / "figures")
    assert pipeline.main([*only, "--shards", "2"]) == 0
    assert kept(output) == whole, "what is missing is measured again, in a process of its own"
    assert first.stat().st_mtime_ns == before
    capsys.readouterr()


def test_a_shard_that_fails_is_one_line_and_its_notebook_is_not_run(command, output, monkeypatch, capsys):
    ran = []

    def fail(words, **kwargs):
        ran.append(words)
        return subprocess.CompletedProcess(words, 2, "", "note: a note\nrun_all.sh: no such luck\n")

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr("helpers.command.run_record.git_commit", lambda: None)
    cut = [*command, "--control", "none", "--only", "mlp_norm", "--shards", "2"]
    assert pipeline.main(cut) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("run_all.sh")]
    assert len(errors) == len(ran) == 2
    assert all("no such luck" in line and f"mlp_norm {number}/2" in line for number, line in enumerate(errors, 1))
    assert not list(output.rglob("mlp_norm.csv"))


def test_a_shard_that_is_killed_names_a_smaller_batch(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda words, **kwargs: subprocess.CompletedProcess(words, -9, "", ""))
    with pytest.raises(InputError, match=r"mlp_norm 1/2: the process was ended by signal 9.*--batch-size"):
        shards.run(shard(), False, None)


def test_the_command_of_a_shard_says_what_the_notebook_is_run_with(monkeypatch):
    seen = {}

    def remember(words, **kwargs):
        seen.update(words=words, environment=kwargs["env"])
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", remember)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    parameters = {"model": "pocket", "tokens": 512, "context": 64}
    shards.run(shard(2, 5, **parameters), False, 1)
    assert seen["words"][0] == sys.executable and seen["environment"]["OMP_NUM_THREADS"] == "1"
    chosen = options.read(seen["words"][3:])
    assert (chosen.models, chosen.tokens, chosen.context, chosen.batch_size) == (("pocket",), 512, 64, 2)
    assert (chosen.shards, chosen.shard, chosen.control) == (5, 2, "none")


def test_a_shard_is_up_to_date_only_whole_with_its_twins_and_with_the_same_inputs(output):
    one = shard(control="untrained")
    rows = pd.DataFrame({"sequence": [0], "layer": [0], "mlp_norm": [1.0]})
    assert not one.is_current()
    tables.save_shard(one.slug, "pocket", 1, 2, rows, one.inputs)
    assert not one.is_current(), "the twins' rows are missing"
    tables.save_shard(one.slug, "pocket@untrained", 1, 2, rows, one.inputs)
    assert one.is_current()
    file = paths.results("pocket") / "shards" / "mlp_norm-1of2.parquet"
    whole = file.read_bytes()
    flipped = whole.replace(b"\xf0\x3f", b"\xe0\x3f", 1)  # within the number 1
    for damaged in (whole[:-5], whole[: len(whole) // 2], b"", b"not a table", flipped):
        file.write_bytes(damaged)
        assert not one.is_current()
    tables.save_shard(one.slug, "pocket", 1, 2, rows, "other inputs")
    assert not one.is_current()


def test_shards_are_joined_in_the_order_of_one_run(output):
    def rows(sequences, seed):
        return pd.DataFrame({"sequence": sequences, "value": [float(number) for number in sequences], "seed": seed})

    for number, part in enumerate([[0, 1], [], [2]], start=1):
        of_twins = pd.concat([rows(part, 0), rows(part, 1)]) if part else pd.DataFrame()
        tables.save_shard("any", "m@untrained", number, 3, of_twins, "i")
    joined = tables.load_shards("any", "m@untrained", 3)
    assert joined["seed"].tolist() == [0, 0, 0, 1, 1, 1] and joined["sequence"].tolist() == [0, 1, 2] * 2
    assert joined.index.tolist() == list(range(6))


def test_a_missing_shard_is_named(output):
    tables.save_shard("any", "m", 1, 2, pd.DataFrame({"sequence": [0]}), "i")
    with pytest.raises(InputError, match="any-2of2"):
        tables.load_shards("any", "m", 2)


BAD = {
    "shards without a batch size": (["--shards", "2"], "--batch-size"),
    "no shards": (["--shards", "0"], "at least 1"),
    "a shard of none": (["--shard", "1", "--model", "pocket", "--only", "mlp_norm"], None),
    "a shard past the last": (["--shards", "2", "--batch-size", "2", "--shard", "3"], "not between 1 and 2"),
    "a shard below the first": (["--shards", "2", "--batch-size", "2", "--shard", "0"], "not between 1 and 2"),
    "a shard of every experiment": (
        ["--shards", "2", "--batch-size", "2", "--shard", "1", "--model", "pocket"],
        "--only",
    ),
    "a shard of what is not cut": (
        ["--shards", "2", "--batch-size", "2", "--shard", "1", "--model", "pocket", "--only", "detokenization"],
        "mlp_norm",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_cut_is_one_line(case):
    arguments, expected = BAD[case]
    if expected is None:
        assert options.read(arguments).shard == 1
        return
    with pytest.raises(InputError, match=expected):
        options.read(arguments)


def test_the_inputs_of_a_shard_can_be_read_without_its_rows(output):
    tables.save_shard("any", "m", 1, 1, pd.DataFrame({"sequence": [0]}), json.dumps(["a", 1]))
    assert tables.shard_inputs("any", "m", 1, 1) == json.dumps(["a", 1])
    assert tables.shard_inputs("any", "m", 1, 2) is None
