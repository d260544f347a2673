"""The command line end to end: a local checkpoint and a text file in, tables and figures out."""

import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from commands import digests, write_notebook

from helpers import corpus, models, paths, pipeline
from helpers.beyond import training_dynamics
from helpers.command import inspection, jobs, limits, options, parser
from helpers.engine import sources
from helpers.errors import InputError
from helpers.judging import runs

SLUGS = [options.slug_of(notebook) for notebook in options.experiment_notebooks()]
BY_LAYER = runs.SLUGS
SMALL = ["--tokens", "256", "--context", "64"]
OF_WORDS = {"feature_engineering"}
READERS = {  # which notebooks read a file of data/ or reference/, on a corpus of one's own; the other files nobody
    "data/senses/pairs.jsonl": OF_WORDS,
    "data/parts_of_speech/sentences.jsonl": OF_WORDS,
    "reference/claims.yaml": {
        "layer_lesion",
        "local_attention",
        "logit_lens",
        "prediction_suppression_neurons",
        "mlp_norm",
        "stages_of_inference",
        "training_dynamics",
    },
    "reference/paper_claims.yaml": {"stages_of_inference"},
    "reference/authors_curves.json": {
        "local_attention",
        "logit_lens",
        "prediction_suppression_neurons",
        "stages_of_inference",
        "training_dynamics",
    },
}
WRITTEN_BY_NOTEBOOKS = (".csv", ".parquet", ".png", ".svg")
WITHOUT_TEXT = {"stages_of_inference", "training_dynamics", *OF_WORDS}
READ_ONLY = sorted(path for folder in (paths.DATA, paths.REFERENCE) for path in folder.rglob("*") if path.is_file())
PASSAGES = sorted(paths.PASSAGES.glob("*.jsonl"))


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
    """The output folder of one complete run through the shell script's entry point, two notebooks at a time."""
    output = tmp_path_factory.mktemp("finished")
    result = command_line(*again(checkpoint, text), "--jobs", "2", "--output", str(output))
    assert result.returncode == 0, result.stderr
    return output


@pytest.fixture(scope="module")
def on_the_passages(checkpoint, tmp_path_factory) -> Path:
    """The output folder of an experiment on the bundled passages."""
    output = tmp_path_factory.mktemp("on_the_passages")
    with pytest.MonkeyPatch.context() as patched:
        assert run(patched, output, *_bundled(checkpoint)) == 0
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


def _bundled(checkpoint: Path) -> list[str]:
    return ["--model", str(checkpoint), "--corpus", "bundled", *SMALL, "--only", "mlp_norm", "--control", "none"]


def planned(*arguments: str) -> list[jobs.Job]:
    chosen = options.read(arguments)
    found = [(sources.find(model), part) for part in (chosen, chosen.of_checkpoints()) for model in part.models]
    return jobs.plan([inspection.inspect(*pair) for pair in found], [part.notebooks for _, part in found])


def model_folder(output: Path, checkpoint: Path) -> Path:
    return output / "results" / paths.model_folder(str(checkpoint))


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_papers_claims_are_judged_and_the_report_is_named_at_the_end(
    checkpoint, text, finished, monkeypatch, capsys
):
    folder = model_folder(finished, checkpoint)
    pages = [folder / name for name in ("explorer.html", "report.html")]
    written = pages[0].stat().st_mtime_ns
    contents = [page.read_bytes() for page in pages]
    assert run(monkeypatch, finished, *again(checkpoint, text)) == 0
    *_, counted, second, last = capsys.readouterr().out.splitlines()
    assert counted.startswith(f"{folder.name}: of ") and "untrained twins deny" in counted
    assert (second, last) == (f"explorer: {pages[0]}", f"report: {pages[1]}")
    assert pages[0].stat().st_mtime_ns == written, "what is up to date is not written again"
    assert [page.read_bytes() for page in pages] == contents
    table = pd.read_csv(folder / "claims.csv")
    assert all(html.escape(wording) in pages[1].read_text() for wording in table["wording"])
    assert set(table["verdict"]) <= {"holds", "does not hold", "undecided"}
    assert table.loc[table["statistic"].isna(), "verdict"].isin(["undecided"]).all()
    assert len(pd.read_csv(folder.with_name(f"{folder.name}@untrained") / "claims.csv")) == len(table)
    assert "needs 3 models that predict" in (finished / "results" / "_all" / "claims.csv").read_text()


@pytest.mark.slow
def test_the_record_says_what_was_run_on_what(finished, checkpoint):
    record = json.loads((model_folder(finished, checkpoint) / "run.json").read_text())
    weights = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert record["files"]["model.safetensors"] == weights
    assert record["architecture"] == "LlamaForCausalLM"
    assert record["parameters"]["tokens"] == 256
    assert set(record["experiments"]) == set(SLUGS)
    assert all(experiment["seconds"] > 0 for experiment in record["experiments"].values())
    assert record["versions"]["torch"]


@pytest.mark.slow
def test_an_executed_notebook_ran_with_the_parameters_of_the_command_line(finished, checkpoint, text):
    notebook = nbformat.read(model_folder(finished, checkpoint) / "notebooks" / "05_mlp_norm.ipynb", as_version=4)
    injected = next(c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", []))
    assert f'corpus = "{text}"' in injected.source
    assert "context = 64" in injected.source


@pytest.mark.slow
def test_a_second_call_finds_everything_up_to_date(finished, checkpoint, text, monkeypatch, capsys):
    before = digests(finished)
    assert run(monkeypatch, finished, *again(checkpoint, text)) == 0
    assert capsys.readouterr().out.count("up to date") == len(SLUGS)
    assert digests(finished) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_an_edit_of_bundled_data_lists_exactly_the_notebooks_that_read_it(
    name, finished, checkpoint, text, monkeypatch, capsys
):
    with edited(paths.ROOT / name):
        assert run(monkeypatch, finished, *again(checkpoint, text), "--list") == 0
    assert slugs_to_run(capsys) == recorded_readers(finished, checkpoint, name) == READERS[name]


@pytest.mark.slow
def test_edits_of_bundled_data_that_no_notebook_reads_list_nothing(finished, checkpoint, text, monkeypatch, capsys):
    names = {str(file.relative_to(paths.ROOT)) for file in READ_ONLY} - set(READERS)
    assert len(names) == len(READ_ONLY) - len(READERS)
    with ExitStack() as edits:
        for name in names:
            edits.enter_context(edited(paths.ROOT / name))
        assert run(monkeypatch, finished, *again(checkpoint, text), "--list") == 0
    assert (
        slugs_to_run(capsys) == set().union(*(recorded_readers(finished, checkpoint, name) for name in names)) == set()
    )


def recorded_readers(output: Path, checkpoint: Path, name: str) -> set[str]:
    experiments = run_record_of(output, checkpoint)["experiments"]
    return {slug for slug in SLUGS if f"repository:{name}" in experiments[slug]["read"]}


@pytest.mark.slow
def test_an_edit_of_any_passage_lists_what_was_run_on_the_passages(on_the_passages, checkpoint, monkeypatch, capsys):
    listing = [*_bundled(checkpoint), "--list"]
    for file in PASSAGES:
        with edited(file):
            assert run(monkeypatch, on_the_passages, *listing) == 0
        assert slugs_to_run(capsys) == {"mlp_norm"}, file
    assert run(monkeypatch, on_the_passages, *listing) == 0
    assert slugs_to_run(capsys) == set()


@pytest.mark.slow
def test_another_text_lists_the_notebooks_that_read_it(finished, checkpoint, text, monkeypatch, capsys):
    experiments = run_record_of(finished, checkpoint)["experiments"]
    assert {slug for slug in SLUGS if "tokens_sha256" not in experiments[slug]} == WITHOUT_TEXT
    with edited(text, b"Nobody thought so twice. " * 40):
        assert run(monkeypatch, finished, *again(checkpoint, text), "--list") == 0
    assert slugs_to_run(capsys) == set(SLUGS) - WITHOUT_TEXT


@pytest.mark.slow
def test_the_record_holds_the_files_of_its_own_model(finished, checkpoint):
    folder = model_folder(finished, checkpoint).name
    own = {f"{kind}/{name}/" for kind in ("results", "figures") for name in (folder, f"{folder}@untrained")}
    for slug, experiment in run_record_of(finished, checkpoint)["experiments"].items():
        outputs = set(experiment["outputs"])
        assert {str(Path(name).parent) + "/" for name in outputs} <= own
        assert f"results/{folder}/{slug}.csv" in outputs
        assert {f"figures/{folder}/{slug}.png", f"figures/{folder}/{slug}.svg"} <= outputs
        assert not outputs & set(experiment["read"])
    every = [name for name in SLUGS for name in run_record_of(finished, checkpoint)["experiments"][name]["outputs"]]
    assert len(every) == len(set(every)), "a file is written by one notebook"
    on_disk = {str(file.relative_to(finished)) for file in finished.rglob("*") if file.suffix in WRITTEN_BY_NOTEBOOKS}
    judged = {f"results/{name}/claims.csv" for name in (folder, f"{folder}@untrained", "_all")}
    assert on_disk - judged == set(every)


def run_record_of(output: Path, checkpoint: Path) -> dict:
    return json.loads((model_folder(output, checkpoint) / "run.json").read_text())


@contextmanager
def edited(file: Path, addition: bytes = b"\n") -> Iterator[None]:
    """A file with something appended, which whoever reads it meanwhile never finds empty; put back afterwards."""
    size = file.stat().st_size
    with file.open("ab") as opened:
        opened.write(addition)
    try:
        yield
    finally:
        os.truncate(file, size)


@pytest.mark.slow
def test_what_is_no_longer_up_to_date_is_listed_as_to_run(finished, checkpoint, text, monkeypatch, capsys):
    listing = [*again(checkpoint, text), "--list"]
    table = model_folder(finished, checkpoint) / "mlp_norm.csv"
    original = table.read_bytes()
    try:
        table.write_bytes(original + b"\n")
        assert run(monkeypatch, finished, *listing) == 0
        assert _to_run(capsys) == ["05_mlp_norm", "06_stages_of_inference", "11_training_dynamics"], (
            "a table that was changed, and who reads it"
        )
        table.unlink()
        run(monkeypatch, finished, *listing)
        assert _to_run(capsys) == ["05_mlp_norm", "06_stages_of_inference", "11_training_dynamics"], (
            "a table that is gone"
        )
    finally:
        table.write_bytes(original)
    run(monkeypatch, finished, *listing)
    assert _to_run(capsys) == []
    for changed in (["--seed", "1"], ["--context", "32"], ["--tokens", "128"], ["--control", "none"]):
        run(monkeypatch, finished, *listing, *changed)
        assert len(_to_run(capsys)) == len(SLUGS), changed
    run(monkeypatch, finished, *listing, "--force")
    assert len(_to_run(capsys)) == len(SLUGS)


def slugs_to_run(capsys) -> set[str]:
    return {name.partition("_")[2] for name in _to_run(capsys)}


def _to_run(capsys) -> list[str]:
    return [notebook for _, notebook in listed(capsys, "to run")]


def listed(capsys, state: str) -> list[tuple[str, str]]:
    """Model and notebook of every job that ``--list`` has printed with a state."""
    rows = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    return [(row[0], row[1]) for row in rows if len(row) > 2 and row[2] == state]


@pytest.mark.slow
def test_tables_and_pages_that_are_damaged_between_runs_are_made_again(
    checkpoint, text, finished, tmp_path, monkeypatch, capsys
):
    output = shutil.copytree(finished, tmp_path / "out")
    folder = model_folder(output, checkpoint)
    made = {file: file.read_bytes() for file in folder.iterdir() if file.suffix in (".csv", ".npy", ".parquet")}
    for name in ("claims.csv", "tokens.npy"):
        (folder / name).write_bytes(b"")
    for name in ("mlp_norm.sequences.parquet", "report.html", "explorer.html"):
        os.truncate(folder / name, (folder / name).stat().st_size // 2)
    assert run(monkeypatch, output, *again(checkpoint, text)) == 0
    assert capsys.readouterr().out.count("up to date") == len(SLUGS) - 1
    assert {file: file.read_bytes() for file in made} == made
    for page in ("report.html", "explorer.html"):
        assert (folder / page).read_text().rstrip().endswith("</html>")


@pytest.mark.slow
def test_a_run_with_checkpoints_lays_them_side_by_side(checkpoints, text, tmp_path, monkeypatch, capsys):
    model = shutil.copytree(checkpoints["neox_sequential"], tmp_path / "model")
    for revision, kind in {"step20": "neox_parallel", "step3": "neox_sequential"}.items():
        shutil.copytree(checkpoints[kind], model / revision)
    output, only = tmp_path / "out", ["--only", "mlp_norm,training_dynamics", "--control", "none"]
    arguments = [*again(model, text), *only, "--checkpoints", "step20,step3"]
    assert run(monkeypatch, output, *arguments) == 0
    folder = model_folder(output, model)
    assert pd.read_csv(folder / "training_dynamics.csv")["point"].unique().tolist() == ["step3", "step20", "final"]
    assert sorted(file.name for file in folder.with_name(f"{folder.name}@step3").glob("*.csv")) == ["mlp_norm.csv"]
    capsys.readouterr()
    run(monkeypatch, output, *arguments, "--list")
    assert capsys.readouterr().out.count("up to date") == 4
    run(monkeypatch, output, *again(model, text), *only, "--list")
    assert slugs_to_run(capsys) == set(), "what has been run is found again without being named"
    shutil.rmtree(folder.with_name(f"{folder.name}@step20"))
    run(monkeypatch, output, *again(model, text), *only, "--list")
    assert slugs_to_run(capsys) == {"training_dynamics"}


WRITES = """
from helpers import files, paths
names = [paths.results(model) / "{slug}.csv", *(paths.figures(model) / f"{slug}.{{end}}" for end in ("png", "svg"))]
for file in names:
    file.parent.mkdir(parents=True, exist_ok=True)
    with files.writing(file) as path:
        path.write_text({content})
"""

COMPARES = """
from helpers import files, paths
folders = sorted((paths.output() / "results").iterdir())
own = [files.reading(folder / "own.csv") for folder in folders]
content = "".join(file.read_text() for file in own if file.exists())
"""


@pytest.mark.slow
def test_notebooks_that_compare_models_are_up_to_date_after_one_call(checkpoint, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    paths.NOTEBOOKS.mkdir()
    write_notebook(paths.NOTEBOOKS / "01_own.ipynb", WRITES.format(slug="own", content="model"))
    write_notebook(paths.NOTEBOOKS / "02_across.ipynb", COMPARES + WRITES.format(slug="across", content="content"))
    arguments, output = [*again(checkpoint, text), "--model", "pocket", "--jobs", "1"], tmp_path / "out"
    assert run(monkeypatch, output, *arguments) == 0
    across = output / "results" / "pocket" / "across.csv"
    assert across.read_text() == (model_folder(output, checkpoint) / "across.csv").read_text()
    assert across.read_text() == "".join(sorted([str(checkpoint), "pocket"], key=paths.model_folder))
    capsys.readouterr()
    run(monkeypatch, output, *arguments, "--list")
    assert capsys.readouterr().out.count("up to date") == 4
    (output / "results" / "pocket" / "own.csv").write_text("changed")
    run(monkeypatch, output, *arguments, "--list")
    folder = paths.model_folder(str(checkpoint))
    assert listed(capsys, "to run") == [(folder, "02_across"), ("pocket", "01_own"), ("pocket", "02_across")]


@pytest.mark.slow
def test_a_failing_notebook_is_named_and_the_others_still_run(checkpoint, text, tmp_path, monkeypatch, capsys):
    good = WRITES.format(slug="good", content="'x'")
    unseen = good.replace("files.writing(file)", "nullcontext(file)").replace("good", "unseen")
    notebooks = {"01_bad": "raise ValueError('the moon is down\\nand more')", "02_idle": "pass", "03_good": good}
    notebooks["04_unseen"] = "from contextlib import nullcontext\n" + unseen
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    paths.NOTEBOOKS.mkdir()
    for name, source in notebooks.items():
        write_notebook(paths.NOTEBOOKS / f"{name}.ipynb", source)
    status = run(monkeypatch, tmp_path / "out", *again(checkpoint, text))
    captured = capsys.readouterr()
    errors = sorted(line for line in captured.err.splitlines() if line.startswith("run_all.sh:"))
    assert status == 1
    assert "01_bad.ipynb" in errors[0] and "cell 3" in errors[0] and "ValueError: the moon is down" in errors[0]
    assert "02_idle.ipynb" in errors[1] and "without writing" in errors[1]
    assert "04_unseen.ipynb ended without writing unseen.csv" in errors[2], "not by way of helpers.files"
    assert len(errors) == 3 and "Traceback" not in captured.err
    assert "03_good" in captured.out


def test_a_notebook_without_one_of_the_parameters_is_refused(checkpoint, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    write_notebook(tmp_path / "01_old.ipynb", "pass", leave_out="seed")
    assert run(monkeypatch, tmp_path / "out", *again(checkpoint, text)) == 2
    assert "01_old.ipynb has no parameter seed" in capsys.readouterr().err


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
    "checkpoints of nothing": (["--checkpoints", "step1,,step2"], "empty name"),
    "checkpoints of a checkpoint": (["--model", "pocket@step1", "--checkpoints", "step2"], "pocket@step1 names one"),
    "a checkpoint that does not exist": (["--checkpoints", "step7"], "no revision step7"),
    "no notebook at a time": (["--jobs", "0"], "--jobs 0"),
    "jobs that are no number": (["--jobs", "all"], "all"),
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


@pytest.mark.slow
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
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path))
    (job,) = planned("--model", str(checkpoint), "--corpus", str(text), "--only", "mlp_norm", "--control", "none")
    assert job.parameters["context"] == 128
    assert "context lowered to the model's limit of 128 tokens" in capsys.readouterr().err


def test_an_untrained_model_has_no_untrained_twin(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path))
    (job,) = planned("--model", "pocket@untrained", "--only", "mlp_norm", *SMALL)
    assert job.parameters["control"] == "none"


def test_options_win_over_the_preset_and_the_preset_over_the_defaults():
    chosen = options.read(["--preset", "gpt2", "--tokens", "77"])
    assert (chosen.tokens, chosen.context, chosen.models, chosen.dtype) == (77, 512, ("gpt2",), "float32")
    assert not chosen.context_is_given and chosen.has_all_notebooks and chosen.output is None


def test_the_options_know_the_dtypes_and_the_shortest_context_of_modules_that_load_torch():
    assert set(parser.DTYPES) == set(models.DTYPES)
    assert limits.SHORTEST_CONTEXT == corpus.SHORTEST_CONTEXT


def test_a_model_named_twice_is_run_once(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    names = ["pocket", str(checkpoint), "pocket", f"./{checkpoint.name}"]
    assert options.read([word for name in names for word in ("--model", name)]).models == ("pocket", str(checkpoint))


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").write_text("a file where a folder should be")
    assert run(monkeypatch, tmp_path, "--only", "mlp_norm", *SMALL) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "check --output" in captured.err


def test_a_corpus_with_an_at_sign_is_found_from_the_notebooks_folder(tmp_path, monkeypatch):
    (tmp_path / "a@b.txt").write_text("one word after another " * 200)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(paths.OUTPUT_VARIABLE, str(tmp_path))
    (job,) = planned("--corpus", "a@b.txt", "--only", "mlp_norm", *SMALL)
    assert job.parameters["corpus"] == str(tmp_path / "a@b.txt")


def test_the_presets_checkpoints_are_those_of_its_own_models(tmp_path, monkeypatch):
    preset = (paths.PRESETS / "pocket.yaml").read_text()
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    (tmp_path / "mine.yaml").write_text(
        re.sub("checkpoints: .*", "checkpoints: [step1]", preset).replace("pocket", "gpt2")
    )
    assert options.read(["--preset", "mine"]).checkpoints == ("step1",)
    assert options.read(["--preset", "mine", "--model", "pocket"]).checkpoints == ()
    assert options.read(["--preset", "mine", "--only", "mlp_norm"]).checkpoints == (), "read by nothing"
    assert options.read(["--preset", "mine", "--only", "mlp_norm,training_dynamics"]).checkpoints == ("step1",)
    chosen = options.read(["--preset", "mine", "--model", "pocket", "--checkpoints", "a, b,a"])
    assert chosen.of_checkpoints().models == ("pocket@a", "pocket@b")
    assert chosen.of_checkpoints().control == "none"
    assert [options.slug_of(path) for path in chosen.of_checkpoints().notebooks] == list(runs.SLUGS)


def test_the_options_know_the_five_experiments():
    assert options.MEASURED == runs.SLUGS
    assert options.READS_CHECKPOINTS == training_dynamics.SLUG


@pytest.mark.parametrize(
    "line", ["tokens: 5k", "models: pocket", "control: no", "seed: none", "speed: 3", "jobs: many"]
)
def test_a_preset_with_a_wrong_value_is_refused(line, tmp_path, monkeypatch):
    preset = (paths.PRESETS / "pocket.yaml").read_text()
    key = line.split(":")[0]
    kept = [row for row in preset.splitlines() if not row.startswith(f"{key}:")]
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    (tmp_path / "mine.yaml").write_text("\n".join([*kept, line]))
    with pytest.raises(InputError, match=key):
        options.read(["--preset", "mine"])
