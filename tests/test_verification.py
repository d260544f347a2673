"""What is stored against what is computed again: what counts as equal, and how a difference is said."""

import numpy as np
import pandas as pd
import pytest
from commands import write_notebook

from helpers import paths, pipeline, tables
from helpers.command import options, verification
from helpers.command.verification import DIFFERS, EQUAL, IDENTICAL, NEVER_STORED, difference, outcome
from helpers.errors import InputError


def table(**columns) -> pd.DataFrame:
    given = {"layer": [0, 1, 2], "intervention": ["drop", "swap", "drop"], "kl_nats": [100.0, 2.0, np.nan]}
    return pd.DataFrame(given | columns)


@pytest.mark.parametrize(
    "other",
    [
        table(),
        table(kl_nats=[100.0005, 2.0005, np.nan]),  # relative to the largest of the column, not to each number
        table(layer=[0.0, 1.0, 2.0]),
        table()[["kl_nats", "intervention", "layer"]],
    ],
    ids=["the same", "near", "whole numbers", "columns in another order"],
)
def test_tables_that_are_equal(other):
    assert difference(table(), other) == "" == difference(other, table())


DIFFERENT = {
    "a number": (
        table(kl_nats=[100.0, 2.01, np.nan]),
        "column kl_nats, row 1 (layer 1, intervention swap): 2.0 is stored, 2.01 computed",
    ),
    "the row that differs most": (
        table(kl_nats=[101.0, 3.5, np.nan]),
        "column kl_nats, row 1 (layer 1, intervention swap): 2.0 is stored, 3.5 computed",
    ),
    "a number that was missing": (
        table(kl_nats=[100.0, 2.0, 0.0]),
        "column kl_nats, row 2 (layer 2, intervention drop): nan is stored, 0.0 computed",
    ),
    "an infinite number": (
        table(kl_nats=[np.inf, 2.0, np.nan]),
        "column kl_nats, row 0 (layer 0, intervention drop): 100.0 is stored, inf computed",
    ),
    "a word": (
        table(intervention=["drop", "swap", "swap"]),
        "column intervention, row 2 (layer 2): drop is stored, swap computed",
    ),
    "a word where a number was": (
        table(kl_nats=["100.0", "2.0", None]),
        "column kl_nats, row 0 (layer 0, intervention drop): 100.0 is stored, 100.0 computed",
    ),
    "the order of rows": (
        table().iloc[[1, 0, 2]].reset_index(drop=True),
        "column layer, row 0 (intervention swap): 0 is stored, 1 computed",
    ),
    "a column more": (table(loss=1.0), "column loss is computed only"),
    "a column less": (table().drop(columns="kl_nats"), "column kl_nats is stored only"),
    "a row less": (table().iloc[:2], "3 rows are stored, 2 computed"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_tables_that_differ_say_where(case):
    other, words = DIFFERENT[case]
    assert difference(table(), other) == words
    assert difference(other, table())


def test_the_tolerance_is_where_it_is_said_to_be():
    def column(*numbers):
        return pd.DataFrame({"value": numbers})

    assert difference(column(0.0, -10.0), column(0.99e-4, -10.0)) == ""
    assert difference(column(0.0, -10.0), column(1.01e-4, -10.0)) != ""
    assert difference(column(0.0, 0.0), column(0.0, 0.0)) == difference(column(np.inf, 1.0), column(np.inf, 1.0)) == ""
    assert difference(column(np.inf, 1.0), column(-np.inf, 1.0)) != ""
    assert difference(column(np.inf, 1.0), column(np.inf, 1.1)) != "", "an infinite number widens nothing"
    assert difference(column(), column()) == ""


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_files_are_identical_or_equal_or_differ_or_were_never_stored(ending, tmp_path):
    def file(name, content):
        path = tmp_path / f"{name}{ending}"
        content.to_csv(path, index=False) if ending == ".csv" else content.to_parquet(path, index=False)
        return path

    stored = file("stored", table())
    assert outcome(stored, file("same", table())) == IDENTICAL
    assert outcome(stored, file("near", table(kl_nats=[100.0001, 2.0, np.nan]))) == EQUAL
    assert outcome(stored, file("far", table(kl_nats=[102.0, 2.0, np.nan]))).startswith(f"{DIFFERS}: column kl_nats")
    assert outcome(tmp_path / f"nowhere{ending}", stored) == NEVER_STORED
    damaged = tmp_path / f"damaged{ending}"
    damaged.write_bytes(stored.read_bytes()[: -len(stored.read_bytes()) // 2] if ending == ".parquet" else b"")
    assert outcome(damaged, stored).startswith(f"{DIFFERS}: it cannot be read (")


MEASURES = """
import pandas as pd
from helpers import files, paths, tables
rows = pd.DataFrame({{"layer": [0, 1], "value": [1.5, 2.5 + seed], "read": {read}}})
tables.save("{slug}", model, rows, rows)
for ending in ("png", "svg"):
    with files.writing(paths.figures(model) / f"{slug}.{{ending}}") as path:
        path.write_text("drawn")
"""


@pytest.fixture
def stored(checkpoints, tmp_path, monkeypatch):
    """A command that has been run, of two notebooks of which one reads the other's table, and its results folder."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path / "out"))
    paths.NOTEBOOKS.mkdir()
    read = 'tables.load("layer_lesion", model)["value"]'
    for name, value in {"01_layer_lesion": "0.0", "03_logit_lens": read}.items():
        write_notebook(paths.NOTEBOOKS / f"{name}.ipynb", MEASURES.format(slug=name.partition("_")[2], read=value))
    (tmp_path / "my.txt").write_text("Nobody on the quay thought it would come back. " * 60)
    words = [
        "--model",
        str(checkpoints["llama"]),
        "--corpus",
        str(tmp_path / "my.txt"),
        "--context",
        "64",
        "--no-pages",
    ]
    assert pipeline.main([*words, "--tokens", "256", "--seed", "3"]) == 0
    return words[:2], paths.results(words[1])


@pytest.mark.slow
def test_what_was_run_is_run_again_with_the_parameters_recorded_and_nothing_stored_changes(stored, capsys):
    command, results = stored
    before = {file: file.read_bytes() for file in results.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert pipeline.main([*command, "--verify"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f"results/{results.name}/layer_lesion{e}: identical" for e in (".csv", ".sequences.parquet")]
    assert said[-1] == "4 identical, 0 equal within 1e-05, 0 differs, 0 never stored"
    assert {file: file.read_bytes() for file in results.rglob("*") if file.is_file()} == before
    assert paths.results(command[1]) == results, "the output folder is what it was"


@pytest.mark.slow
def test_a_table_that_differs_is_one_line_and_the_exit_status_1(stored, capsys):
    command, results = stored
    (results / "layer_lesion.sequences.parquet").unlink()
    table = tables.load("layer_lesion", command[1])
    tables.write(results / "layer_lesion.csv", table.assign(value=[1.5, 5.6]))
    capsys.readouterr()
    assert pipeline.main([*command, "--verify", "--only", "layer_lesion"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"results/{results.name}/layer_lesion.csv: differs: column value, row 1 (layer 1): 5.6 is stored, 5.5 computed",
        f"results/{results.name}/layer_lesion.sequences.parquet: never stored",
        "0 identical, 0 equal within 1e-05, 1 differs, 1 never stored",
    ]


@pytest.mark.slow
def test_a_reader_alone_reads_the_tables_that_are_stored(stored, capsys):
    command, _ = stored
    assert pipeline.main([*command, "--verify", "--only", "logit_lens"]) == 0
    assert capsys.readouterr().out.endswith("2 identical, 0 equal within 1e-05, 0 differs, 0 never stored\n")


@pytest.mark.slow
def test_an_experiment_that_cannot_be_run_again_is_a_difference(stored, capsys):
    command, _ = stored
    write_notebook(paths.NOTEBOOKS / "01_layer_lesion.ipynb", "raise ValueError('the moon is down')")
    assert pipeline.main([*command, "--verify", "--only", "layer_lesion"]) == 1
    assert "the moon is down" in capsys.readouterr().err


def test_with_nothing_stored_there_is_nothing_to_verify(output, capsys):
    assert pipeline.main(["--verify", "--output", str(output), "--only", "mlp_norm"]) == 2
    assert "nothing to verify" in capsys.readouterr().err
    assert not list(output.iterdir())


@pytest.mark.parametrize("other", [["--refresh"], ["--list"]])
def test_verifying_goes_with_no_option_that_does_something_else(other):
    with pytest.raises(InputError, match=other[0]):
        options.read(["--verify", *other])


def test_experiments_run_with_other_parameters_are_verified_with_their_own(output, monkeypatch):
    given = {"corpus": "bundled", "tokens": 512, "context": 64, "control": "none", "device": "cpu", "dtype": "float32"}
    given |= {"batch_size": 4, "seed": 7, "model": "pocket", "checkpoints": []}
    record = {"experiments": {"mlp_norm": {"inputs": {"parameters": given}}}}
    monkeypatch.setattr(verification.run_record, "read", lambda model: record)
    chosen = options.read(["--only", "local_attention,mlp_norm", "--seed", "1"])
    one, other = verification._with_recorded_parameters(chosen)
    assert [options.slug_of(path) for part in (one, other) for path in part.notebooks] == [
        "local_attention",
        "mlp_norm",
    ]
    assert (one.seed, one.tokens, one.context_is_given) == (1, chosen.tokens, False)
    assert (other.seed, other.tokens, other.batch_size, other.context_is_given) == (7, 512, 4, True)
