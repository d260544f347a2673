"""The command line end to end: a local checkpoint and a text file in, tables and figures out."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers import paths, pipeline
from helpers.command import options, run_record
from helpers.errors import InputError
from helpers.judging import stages

SLUGS = [options.slug_of(notebook) for notebook in options.experiment_notebooks()]
BY_LAYER = [module.SLUG for module in stages.EXPERIMENTS]
SMALL = ["--tokens", "256", "--context", "64"]


@pytest.fixture(scope="module")
def checkpoint(checkpoints) -> Path:
    return checkpoints["llama"]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "my.txt"
    path.write_text("The ferry left at six, and nobody on the quay thought it would come back. " * 40)
    return path


@pytest.fixture(scope="module")
def finished(checkpoint, text, tmp_path_factory) -> Path:
    """The output folder of one complete run through the shell script's entry point."""
    output = tmp_path_factory.mktemp("finished")
    command = ["--model", str(checkpoint), "--corpus", str(text), *SMALL, "--output", str(output)]
    result = command_line(*command)
    assert result.returncode == 0, result.stderr
    return output


def command_line(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "helpers.pipeline", *arguments], capture_output=True, text=True, **kwargs
    )


def run(monkeypatch, output: Path, *arguments: str) -> int:
    """The same in this process, with the output folder put back afterwards."""
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(output))
    return pipeline.main([*arguments, "--output", str(output)])


def again(checkpoint: Path, text: Path) -> list[str]:
    return ["--model", str(checkpoint), "--corpus", str(text), *SMALL]


def model_folder(output: Path, checkpoint: Path) -> Path:
    return output / "results" / paths.model_folder(str(checkpoint))


def digests(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.suffix in (".csv", ".parquet", ".png", ".svg", ".npy")]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_one_command_makes_every_table_and_figure(finished, checkpoint):
    results = model_folder(finished, checkpoint)
    figures = finished / "figures" / results.name
    for slug in SLUGS:
        assert set(pd.read_csv(results / f"{slug}.csv")["model"]) == {results.name}
        assert (figures / f"{slug}.png").stat().st_size > 10_000
        assert (figures / f"{slug}.svg").stat().st_size > 10_000
    for slug in BY_LAYER:
        table = pd.read_csv(results / f"{slug}.csv")
        assert table["depth"].between(0, 1).all()
        twin = pd.read_csv(results.with_name(f"{results.name}@untrained") / f"{slug}.csv")
        assert len(twin) == len(table)
        assert {column for column in twin if not column.endswith(("_low", "_high"))} <= set(table)
    assert np.load(results / "tokens.npy").shape == (4, 64)
    assert len(list((results / "notebooks").glob("*.ipynb"))) == len(SLUGS)
    assert not [file for file in finished.rglob(".*") if file.is_file()], "temporary files are left"


def test_the_papers_claims_are_judged_and_printed_at_the_end(checkpoint, text, finished, monkeypatch, capsys):
    assert run(monkeypatch, finished, *again(checkpoint, text)) == 0
    printed = capsys.readouterr().out
    folder = model_folder(finished, checkpoint)
    table = pd.read_csv(folder / "claims.csv")
    assert all(wording in printed for wording in table["wording"])
    assert set(table["verdict"]) <= {"holds", "does not hold", "undecided"}
    assert table.loc[table["statistic"].isna(), "verdict"].isin(["undecided"]).all()
    assert len(pd.read_csv(folder.with_name(f"{folder.name}@untrained") / "claims.csv")) == len(table)
    assert "needs 3 models that predict" in (finished / "results" / "_all" / "claims.csv").read_text()


def test_the_record_says_what_was_run_on_what(finished, checkpoint):
    record = json.loads((model_folder(finished, checkpoint) / "run.json").read_text())
    weights = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert record["files"]["model.safetensors"] == weights
    assert record["architecture"] == "LlamaForCausalLM"
    assert record["parameters"]["tokens"] == 256
    assert set(record["experiments"]) == set(SLUGS)
    assert all(experiment["seconds"] > 0 for experiment in record["experiments"].values())
    assert record["versions"]["torch"]


def test_an_executed_notebook_ran_with_the_parameters_of_the_command_line(finished, checkpoint, text):
    notebook = nbformat.read(model_folder(finished, checkpoint) / "notebooks" / "05_mlp_norm.ipynb", as_version=4)
    injected = next(c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", []))
    assert f'corpus = "{text}"' in injected.source
    assert "context = 64" in injected.source


def test_a_second_call_finds_everything_up_to_date(finished, checkpoint, text, monkeypatch, capsys):
    before = digests(finished)
    assert run(monkeypatch, finished, *again(checkpoint, text)) == 0
    assert capsys.readouterr().out.count("up to date") == len(SLUGS)
    assert digests(finished) == before


def test_what_is_no_longer_up_to_date_is_listed_as_to_run(finished, checkpoint, text, monkeypatch, capsys):
    listing = [*again(checkpoint, text), "--list"]
    table = model_folder(finished, checkpoint) / "mlp_norm.csv"
    original = table.read_bytes()
    try:
        table.write_bytes(original + b"\n")
        assert run(monkeypatch, finished, *listing) == 0
        assert _to_run(capsys) == ["05_mlp_norm", "06_stages_of_inference"], (
            "a table that was changed, and who reads it"
        )
        table.unlink()
        run(monkeypatch, finished, *listing)
        assert _to_run(capsys) == ["05_mlp_norm", "06_stages_of_inference"], "a table that is gone"
    finally:
        table.write_bytes(original)
    run(monkeypatch, finished, *listing)
    assert _to_run(capsys) == []
    for changed in (["--seed", "1"], ["--context", "32"], ["--tokens", "128"], ["--control", "none"]):
        run(monkeypatch, finished, *listing, *changed)
        assert len(_to_run(capsys)) == len(SLUGS), changed
    run(monkeypatch, finished, *listing, "--force")
    assert len(_to_run(capsys)) == len(SLUGS)


def _to_run(capsys) -> list[str]:
    lines = capsys.readouterr().out.splitlines()
    return [line.split(":")[0].split()[-1] for line in lines if line.endswith("to run")]


def test_killed_in_the_middle_the_same_command_goes_on_to_the_same_tables(checkpoint, text, finished, tmp_path):
    only = ["--only", "local_attention,mlp_norm"]
    command = [sys.executable, "-m", "helpers.pipeline", *again(checkpoint, text), *only, "--output", str(tmp_path)]
    record = model_folder(tmp_path, checkpoint) / "run.json"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.time() + 240
    while not record.exists() and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert set(json.loads(record.read_text())["experiments"]) == {"local_attention"}
    result = command_line(*again(checkpoint, text), *only, "--output", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("up to date") == 1, "the finished experiment is not run again"
    (model_folder(tmp_path, checkpoint) / "claims.csv").unlink()  # judged on these two experiments only
    resumed, undisturbed = digests(model_folder(tmp_path, checkpoint)), digests(model_folder(finished, checkpoint))
    assert resumed and resumed.items() <= undisturbed.items()


def test_a_failing_notebook_is_named_and_the_others_still_run(checkpoint, text, tmp_path, monkeypatch, capsys):
    good = "from helpers import paths\nfolder = paths.results(model)\nfolder.mkdir(parents=True, exist_ok=True)\n"
    good += "paths.figures(model).mkdir(parents=True, exist_ok=True)\n"
    good += "for file in (folder / 'good.csv', paths.figures(model) / 'good.png', paths.figures(model) / 'good.svg'):\n"
    good += "    file.write_text('x')"
    notebooks = {"01_bad": "raise ValueError('the moon is down\\nand more')", "02_idle": "pass", "03_good": good}
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    paths.NOTEBOOKS.mkdir()
    for name, source in notebooks.items():
        _write_notebook(paths.NOTEBOOKS / f"{name}.ipynb", source)
    status = run(monkeypatch, tmp_path / "out", *again(checkpoint, text))
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("run_all.sh:")]
    assert status == 1
    assert "01_bad.ipynb" in errors[0] and "cell 3" in errors[0] and "ValueError: the moon is down" in errors[0]
    assert "02_idle.ipynb" in errors[1] and "without writing" in errors[1]
    assert len(errors) == 2 and "Traceback" not in captured.err
    assert "03_good" in captured.out


def test_a_notebook_without_one_of_the_parameters_is_refused(checkpoint, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    _write_notebook(tmp_path / "01_old.ipynb", "pass", leave_out="seed")
    assert run(monkeypatch, tmp_path / "out", *again(checkpoint, text)) == 2
    assert "01_old.ipynb has no parameter seed" in capsys.readouterr().err


def _write_notebook(path: Path, source: str, leave_out: str = "") -> None:
    preset = options.read_preset("pocket")
    parameters = preset | {"model": preset.pop("models")[0]}
    names = [name for name in parameters if name not in ("models", leave_out)]
    cells = [new_code_cell("\n".join(f"{name} = {parameters[name]!r}" for name in names)), new_code_cell(source)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)


BAD_OPTIONS = {
    "an unknown option": (["--modle", "gpt2"], "--modle"),
    "an abbreviated option": (["--tok", "100"], "--tok"),
    "an unknown preset": (["--preset", "huge"], "there are gpt2, paper, pocket"),
    "an unknown experiment": (["--only", "layer_lesions"], "layer_lesions"),
    "tokens that are no number": (["--tokens", "many"], "many"),
    "no tokens": (["--tokens", "0"], "at least 1"),
    "too short a context": (["--context", "4"], "at least 8"),
    "a context above the model's limit": (["--context", "4096"], "limit of 256"),
    "a batch of nothing": (["--batch-size", "0"], "batch size"),
    "an unknown dtype": (["--dtype", "float8"], "float8"),
    "a device that is not there": (["--device", "warp"], "warp"),
    "an unknown control": (["--control", "random"], "random"),
    "a model that is nowhere": (["--model", "no/such/folder"], "no/such/folder"),
    "an alias that does not exist": (["--model", "gpt5"], "gpt5"),
    "a corpus that is nowhere": (["--corpus", "no_such.txt"], "no_such.txt"),
    "an empty model name": (["--model", ""], "--model is empty"),
    "an empty corpus": (["--corpus", ""], "--corpus is empty"),
    "an empty output folder": (["--output", ""], "--output is empty"),
    "a name that ends where a revision should be": (["--model", "pocket@"], "incomplete"),
    "a revision without a model": (["--model", "@step10"], "incomplete"),
    "a negative seed": (["--seed", "-1"], "--seed -1"),
    "a device without memory": (["--device", "meta"], "meta"),
    "no experiment at all": (["--only", ","], "names no experiment"),
    "a preset that is a path": (["--preset", "../presets/pocket"], "no preset"),
    "refresh with another choice": (["--refresh", "--tokens", "100"], "--refresh"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_input_is_one_line_that_names_it(case, tmp_path, monkeypatch, capsys):
    arguments, expected = BAD_OPTIONS[case]
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path))
    assert pipeline.main(arguments) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.count("\n") == 1 and captured.err.startswith("run_all.sh: ")
    assert not list(tmp_path.rglob("*.csv"))


def test_a_bad_model_among_good_ones_stops_everything_before_the_first_kernel(finished, checkpoint, text, monkeypatch):
    before = digests(finished)
    arguments = [*again(checkpoint, text), "--model", "gpt5", "--force"]
    assert run(monkeypatch, finished, *arguments) == 2
    assert digests(finished) == before


def test_an_output_folder_that_is_a_file_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, tmp_path / "file") == 2
    assert "output folder" in capsys.readouterr().err


def test_a_preset_context_is_lowered_to_the_models_limit_with_a_note(checkpoint, text, tmp_path, monkeypatch, capsys):
    arguments = ["--model", str(checkpoint), "--corpus", str(text), "--list", "--only", "mlp_norm"]
    assert run(monkeypatch, tmp_path, *arguments) == 0
    assert "context lowered to the model's limit of 128 tokens" in capsys.readouterr().err


def test_an_untrained_model_has_no_untrained_twin(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path))
    chosen = options.read(["--model", "pocket@untrained", "--only", "mlp_norm", *SMALL])
    (job,) = pipeline.plan("pocket@untrained", chosen)
    assert job.parameters["control"] == "none"


def test_options_win_over_the_preset_and_the_preset_over_the_defaults():
    chosen = options.read(["--preset", "gpt2", "--tokens", "77"])
    assert (chosen.tokens, chosen.context, chosen.models, chosen.dtype) == (77, 512, ["gpt2"], "float32")


@pytest.mark.parametrize(
    "content",
    [b'{"experiments": {', b"[[]]", b'{"experiments": []}', b'{"experiments": {"mlp_norm": null}}', b"\xff\xfe", b"3"],
)
def test_a_damaged_record_counts_as_none(content, tmp_path, monkeypatch):
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path))
    paths.results("pocket").mkdir(parents=True)
    (paths.results("pocket") / "run.json").write_bytes(content)
    assert not run_record.read("pocket").get("experiments")
    assert not run_record.is_current("pocket", "mlp_norm", {})


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").write_text("a file where a folder should be")
    assert run(monkeypatch, tmp_path, "--only", "mlp_norm", *SMALL) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "check --output" in captured.err


def test_a_corpus_with_an_at_sign_is_found_from_the_notebooks_folder(tmp_path, monkeypatch):
    (tmp_path / "a@b.txt").write_text("one word after another " * 200)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path))
    (job,) = pipeline.plan("pocket", options.read(["--corpus", "a@b.txt", "--only", "mlp_norm", *SMALL]))
    assert job.parameters["corpus"] == str(tmp_path / "a@b.txt")


@pytest.mark.parametrize("line", ["tokens: 5k", "models: pocket", "control: no", "seed: none", "speed: 3"])
def test_a_preset_with_a_wrong_value_is_refused(line, tmp_path, monkeypatch):
    preset = (paths.PRESETS / "pocket.yaml").read_text()
    key = line.split(":")[0]
    kept = [row for row in preset.splitlines() if not row.startswith(f"{key}:")]
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    (tmp_path / "mine.yaml").write_text("\n".join([*kept, line]))
    with pytest.raises(InputError, match=key):
        options.read(["--preset", "mine"])
