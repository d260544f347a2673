"""The table of benchmarks, and its command, as far as neither needs lm-evaluation-harness."""

import sys

import pandas as pd
import pytest

from helpers import paths
from helpers.beyond import benchmarks
from helpers.command import benchmarks as command


def rows_of(*answers: tuple) -> pd.DataFrame:
    """One row per document from ``(intervention, layer, task, right on each document)``."""
    rows = [
        {"intervention": intervention, "layer": layer, "task": task, "document": number, "accuracy": float(right)}
        for intervention, layer, task, documents in answers
        for number, right in enumerate(documents)
    ]
    return pd.DataFrame(rows)


def test_means_changes_and_their_standard_errors_by_hand():
    """Of four answers, one right one is lost: 3/4 to 2/4, in one document of four."""
    nan = float("nan")
    table = benchmarks.summarise(
        rows_of(
            ("intact", nan, "quiz", [1, 1, 1, 0]), ("drop", 0, "quiz", [1, 1, 0, 0]), ("drop", 2, "quiz", [1, 1, 1, 0])
        ),
        n_layers=3,
    )
    intact, first, last = table.to_dict("records")
    assert intact["accuracy"] == 0.75
    assert intact["accuracy_stderr"] == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    assert first["accuracy"] == 0.5
    assert first["accuracy_stderr"] == pytest.approx((0.25 / 3) ** 0.5)
    assert first["accuracy_change"] == -0.25
    assert first["accuracy_change_stderr"] == pytest.approx((0.25 * 0.75 / 3) ** 0.5)
    for unchanged in (intact, last):
        assert unchanged["accuracy_change"] == unchanged["accuracy_change_stderr"] == 0
    assert [row["documents"] for row in (intact, first, last)] == [4, 4, 4]
    assert [first["depth"], last["depth"]] == [0, 1]
    assert pd.isna(intact["depth"])


def test_tasks_are_kept_apart():
    table = benchmarks.summarise(
        rows_of(
            ("intact", float("nan"), "easy", [1, 1]),
            ("intact", float("nan"), "hard", [0, 0, 0]),
            ("swap", 0, "easy", [0, 1]),
            ("swap", 0, "hard", [0, 0, 1]),
        ),
        n_layers=2,
    ).set_index(["intervention", "task"])
    assert table.loc[("swap", "easy"), "accuracy_change"] == -0.5
    assert table.loc[("swap", "hard"), "accuracy_change"] == pytest.approx(1 / 3)


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.main(["--model", "gpt2", "--limit", "10"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "lm-evaluation-harness is not installed" in line
    assert f"{sys.executable} -m pip install -e '{paths.ROOT}[benchmarks]'" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "--limit 0: give the number of documents"),
        (["--limit", "many"], "invalid int value: 'many'"),
        (["--batch-size", "no"], "'no' is neither auto nor a positive number"),
        (["--tasks", ","], "--tasks names none"),
        (["--interventions", ""], "--interventions names none"),
        (["--interventions", "drop,shuffle"], "no intervention 'shuffle': there are drop, swap and repeat_N"),
        (["--include-path", "no/such/folder"], "no/such/folder is not a folder"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
        (["--tokens", "100"], "unrecognized arguments: --tokens"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_line(arguments, message, capsys):
    assert command.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m helpers.command.benchmarks: ")
    assert message in line


def test_help_names_the_tasks_of_the_paper(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "hellaswag,arc_easy,lambada_openai" in capsys.readouterr().out
