"""The record of a run: an experiment is up to date only while all that it read and wrote is as it was."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import files, paths
from helpers.command import run_record

INPUTS = {"notebook": "1", "helpers": "2", "parameters": {"model": "pocket", "seed": 0}}
FACTS = {"model": "pocket"}


@pytest.fixture(autouse=True)
def other_output(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path / "output"))
    return tmp_path / "output"


def wrote(path: Path, content: str = "1") -> Path:
    with files.writing(path) as temporary:
        temporary.write_text(content)
    return path


def recorded(monkeypatch, tmp_path, notebook: Callable[[], object], tokens: str = "t") -> dict:
    """The record after ``notebook`` has run, and has written the experiment's table at its end."""
    ledger = tmp_path / "ledger"
    ledger.write_text("")
    with monkeypatch.context() as kernel:
        kernel.setenv(files.LEDGER_VARIABLE, str(ledger))
        notebook()
        wrote(paths.results("pocket") / "mlp_norm.csv")
    experiment = run_record.finished("pocket", INPUTS, tokens, files.read_ledger(ledger), seconds=1.0)
    run_record.write("pocket", FACTS, "mlp_norm", experiment)
    return experiment


def is_current(inputs: dict = INPUTS, tokens: str = "t") -> bool:
    return run_record.is_current("pocket", "mlp_norm", inputs, tokens)


@pytest.mark.parametrize("output_is_repository", [True, False])
def test_a_file_of_the_repository_has_the_same_name_wherever_the_output_goes(monkeypatch, output_is_repository):
    if output_is_repository:
        monkeypatch.setenv(paths.OUTPUT_VARIABLE, "")
        assert paths.output() == paths.ROOT
    assert run_record.recorded_name(paths.REFERENCE / "claims.yaml") == "repository:reference/claims.yaml"
    assert run_record.recorded_name(paths.PASSAGES / "letters.jsonl") == "repository:data/passages/letters.jsonl"


def test_results_and_figures_are_named_from_the_output_folder(monkeypatch):
    assert run_record.recorded_name(paths.results("a/b") / "x.csv") == "results/a--b/x.csv"
    assert run_record.recorded_name(paths.figures("pocket") / "x.png") == "figures/pocket/x.png"
    committed = paths.ROOT / "results" / "pocket" / "x.csv"
    assert run_record.recorded_name(committed) == "repository:results/pocket/x.csv", "while the output is elsewhere"
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, "")
    assert run_record.recorded_name(committed) == "results/pocket/x.csv"


def test_any_other_file_is_named_by_its_absolute_path(other_output, tmp_path):
    assert run_record.recorded_name(tmp_path / "my.txt") == f"{tmp_path}/my.txt"
    assert run_record.recorded_name(other_output / "data" / "my.txt") == f"{other_output}/data/my.txt"


def test_every_name_leads_back_to_its_file_and_no_two_files_share_one(other_output, tmp_path):
    inside = ["results/x.csv", "figures/x.png", "data/x", "repository:data/x", "results", "resultsx"]
    roots = [other_output, paths.ROOT, tmp_path, Path("/")]
    places = [root / name for root in roots for name in inside]
    assert [run_record.located(run_record.recorded_name(place)) for place in places] == places
    assert len({run_record.recorded_name(place) for place in places}) == len(places)


def test_an_output_folder_that_is_moved_takes_its_record_along(monkeypatch, tmp_path, other_output):
    table = wrote(paths.results("pocket") / "layer_lesion.csv")
    recorded(monkeypatch, tmp_path, lambda: files.reading(table))
    other_output.rename(tmp_path / "moved")
    assert not is_current()
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path / "moved"))
    assert is_current()


def test_results_may_be_a_link_to_another_disk(monkeypatch, tmp_path, other_output):
    (tmp_path / "disk").mkdir()
    other_output.mkdir()
    (other_output / "results").symlink_to(tmp_path / "disk")
    assert list(recorded(monkeypatch, tmp_path, lambda: None)["outputs"]) == ["results/pocket/mlp_norm.csv"]
    assert is_current()


def test_the_outputs_are_those_of_the_model_and_its_twin(monkeypatch, tmp_path):
    twin = paths.results("pocket@untrained") / "mlp_norm.csv"

    def notebook() -> None:
        for path in (twin, paths.figures("pocket") / "mlp_norm.png", tmp_path / "elsewhere.csv"):
            wrote(path)
        for model in ("_all", "pocket2", "pocket@step1"):
            wrote(paths.results(model) / "mlp_norm.csv")

    names = ["figures/pocket/mlp_norm.png", "results/pocket/mlp_norm.csv", "results/pocket@untrained/mlp_norm.csv"]
    assert list(recorded(monkeypatch, tmp_path, notebook)["outputs"]) == names
    wrote(paths.results("_all") / "mlp_norm.csv", "changed")
    assert is_current()
    wrote(twin, "changed")
    assert not is_current()


def test_a_file_that_is_read_and_changes_afterwards_is_no_longer_current(monkeypatch, tmp_path):
    table = wrote(tmp_path / "table.csv", "old")
    assert recorded(monkeypatch, tmp_path, lambda: files.reading(table))["read"] == {str(table): files.sha256(table)}
    assert is_current()
    table.write_text("new")
    assert not is_current()
    table.write_text("old")
    assert is_current()
    table.unlink()
    assert not is_current()


def test_a_file_that_changes_while_the_notebook_runs_was_read_as_it_was_before(monkeypatch, tmp_path):
    table = wrote(tmp_path / "table.csv", "old")

    def notebook() -> None:
        files.reading(table)
        table.write_text("new")

    recorded(monkeypatch, tmp_path, notebook)
    assert not is_current()


def test_a_file_that_was_missing_and_appears_is_a_change(monkeypatch, tmp_path):
    later = paths.results("gpt2") / "mlp_norm.csv"
    assert recorded(monkeypatch, tmp_path, lambda: files.reading(later))["read"] == {"results/gpt2/mlp_norm.csv": ""}
    assert is_current()
    wrote(later)
    assert not is_current()
    later.unlink()
    assert is_current()


def test_what_a_notebook_finds_of_its_last_run_is_not_what_it_depends_on(monkeypatch, tmp_path):
    own = paths.results("pocket") / "mlp_norm.csv"
    for _ in range(2):
        assert recorded(monkeypatch, tmp_path, lambda: files.reading(own))["read"] == {}
        assert is_current()


def test_an_output_that_is_changed_or_gone_is_no_longer_current(monkeypatch, tmp_path):
    recorded(monkeypatch, tmp_path, lambda: None)
    table = paths.results("pocket") / "mlp_norm.csv"
    table.write_text("2")
    assert not is_current()
    table.unlink()
    assert not is_current()
    table.write_text("1")
    assert is_current()


def test_the_tokens_count_only_where_they_were_read(monkeypatch, tmp_path):
    assert "tokens_sha256" not in recorded(monkeypatch, tmp_path, lambda: None, tokens="before")
    assert is_current(tokens="before") and is_current(tokens="after")
    assert recorded(monkeypatch, tmp_path, files.reading_tokens, tokens="before")["tokens_sha256"] == "before"
    assert is_current(tokens="before") and not is_current(tokens="after")


@pytest.mark.parametrize("key", INPUTS)
def test_other_inputs_are_not_those_recorded(key, monkeypatch, tmp_path):
    recorded(monkeypatch, tmp_path, lambda: None)
    assert is_current()
    assert not is_current(INPUTS | {key: "other"})
    assert not is_current({name: value for name, value in INPUTS.items() if name != key})


def test_an_experiment_of_which_nothing_is_recorded_is_not_current(monkeypatch, tmp_path):
    assert not is_current()
    recorded(monkeypatch, tmp_path, lambda: None)
    assert not run_record.is_current("pocket", "layer_lesion", INPUTS, "t")
    run_record.write("pocket", FACTS, "mlp_norm", {"inputs": INPUTS, "read": {}, "outputs": {}, "seconds": 1.0})
    assert not is_current(), "it made nothing"


def test_a_second_experiment_leaves_the_first_as_it_is(monkeypatch, tmp_path):
    first = recorded(monkeypatch, tmp_path, lambda: None)
    run_record.write("pocket", FACTS, "layer_lesion", first | {"seconds": 2.0})
    assert run_record.read("pocket")["experiments"] == {"mlp_norm": first, "layer_lesion": first | {"seconds": 2.0}}


def test_a_name_of_an_older_version_is_a_file_that_has_changed(monkeypatch, tmp_path):
    experiment = recorded(monkeypatch, tmp_path, lambda: None)
    assert is_current()
    run_record.write("pocket", FACTS, "mlp_norm", experiment | {"read": {"../../data/old.jsonl": "1"}})
    assert not is_current()


@pytest.mark.parametrize(
    "content",
    [
        b'{"experiments": {',
        b"[[]]",
        b'{"experiments": []}',
        b'{"experiments": {"mlp_norm": null}}',
        b'{"experiments": {"mlp_norm": {"inputs": {}, "outputs": {}, "seconds": 1.0}}}',
        b'{"experiments": {"mlp_norm": {"inputs": {}, "read": [], "outputs": {}, "seconds": 1.0}}}',
        b"\xff\xfe",
        b"3",
    ],
)
def test_a_damaged_record_counts_as_none(content):
    paths.results("pocket").mkdir(parents=True)
    (paths.results("pocket") / "run.json").write_bytes(content)
    assert not run_record.read("pocket").get("experiments")
    assert not run_record.is_current("pocket", "mlp_norm", {}, "")
