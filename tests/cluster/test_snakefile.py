"""The workflow's jobs are those of ``run_all.sh``: none missing, none made up, each called as it would be called."""

import re
import shlex
from dataclasses import replace

import pytest

from helpers.command import limits, options, tasks

pytestmark = pytest.mark.slow
FIELD = re.compile(r"^    (input|wildcards|threads|resources): (.*)$|^Shell command: (.*)$", flags=re.MULTILINE)


@pytest.fixture
def planned(snakemake, tmp_path):
    """What a dry run says of every job: its rule, the words of its command, and what it awaits and asks for."""

    def plan(*given):
        run = snakemake(tmp_path, given, "--dry-run", "--printshellcmds", "--cores", "64")
        assert run.wait() == 0, (tmp_path / "snakemake.log").read_text()
        said = (tmp_path / "snakemake.log").read_text().partition("Job stats")[2].partition("\n[")[2]
        return [job_of(block) for block in said.split("\n[") if "\nrule " in block]

    return plan


def job_of(block):
    fields = {name or "command": value or command for name, value, command in FIELD.findall(block)}
    return {
        "rule": re.search(r"^rule (\w+):", block, flags=re.MULTILINE)[1],
        "awaits": {path for path in fields.get("input", "").split(", ") if path},
        "wildcards": pairs(fields.get("wildcards", "")),
        "words": shlex.split(fields["command"]),
        "resources": pairs(fields["resources"]) | {"threads": fields["threads"]},
    }


def pairs(said):
    return dict(pair.split("=", 1) for pair in said.split(", ") if pair)


@pytest.fixture
def given(checkpoints, request):
    folder = str(checkpoints["llama"])
    return {
        "the preset": [],
        "some": ["--model", "pocket", "--model", folder, "--only", "mlp_norm,stages_of_inference", "--context", "32"],
        "checkpoints": ["--model", "pocket", "--checkpoints", "step100,step1000", "--dtype", "bfloat16"],
        "shards": ["--model", folder, "--corpus", "a file of mine.txt", "--shards", "3", "--batch-size", "2"],
    }[request.param]


@pytest.mark.parametrize("given", ["the preset", "some", "checkpoints", "shards"], indirect=True)
def test_every_task_is_one_job_and_run_all_is_told_of_it_what_it_was_told_of_all(given, planned):
    chosen = options.read(given)
    outline = tasks.outline(chosen)
    jobs = planned(*given)
    experiments = {
        (*options.read(job["words"][1:]).models, job["wildcards"]["slug"]): job
        for job in jobs
        if job["rule"] == "experiment"
    }
    assert sorted(experiments) == sorted((task.model, task.slug) for task in outline)
    for task in outline:
        read = options.read(experiments[task.model, task.slug]["words"][1:])
        part = chosen if task.model in chosen.models else chosen.of_checkpoints()
        along = part.checkpoints if task.slug == options.READS_CHECKPOINTS else ()
        alone = {"models": (task.model,), "notebooks": (task.notebook,), "has_all_notebooks": False, "jobs": 1}
        assert read == replace(part, **alone, checkpoints=along, pages=False)
    shards = [options.read(job["words"][1:]) for job in jobs if job["rule"] == "shard"]
    numbers = range(1, chosen.shards + 1) if chosen.shards > 1 else []
    cut = [task for task in outline if task.slug in limits.SHARDED]
    assert sorted((*read.models, *read.notebooks, read.shard) for read in shards) == sorted(
        (task.model, task.notebook, number) for task in cut for number in numbers
    )
    pages = [job for job in jobs if job["rule"] == "pages"]
    assert [options.read(job["words"][1:]) for job in pages] == [replace(chosen, jobs=1)]
    assert len(pages[0]["awaits"]) == len(outline)


def test_a_job_comes_after_those_whose_tables_it_reads_and_after_its_own_shards(planned):
    jobs = planned("--model", "pocket", "--only", "layer_lesion,logit_lens", "--shards", "2", "--batch-size", "2")
    awaits = {job["wildcards"]["slug"]: job["awaits"] for job in jobs if job["rule"] == "experiment"}
    names = {slug: {path.rsplit("/")[-1] for path in paths} for slug, paths in awaits.items()}
    assert names == {
        "layer_lesion": {"layer_lesion-1of2.done", "layer_lesion-2of2.done"},
        "logit_lens": {"layer_lesion.done", "logit_lens-1of2.done", "logit_lens-2of2.done"},
    }
    assert not any(job["awaits"] for job in jobs if job["rule"] == "shard")


@pytest.mark.parametrize(("device", "gpus"), [("cpu", {0}), ("cuda", {1}), ("balanced", {1, 2, 8})])
def test_what_a_job_asks_for_grows_with_its_model(device, gpus, planned):
    models = ["pocket", "gpt2", "pythia-2.8b", "pythia-12b", "qwen2.5-14b", "pocket@step100"]
    named = [word for model in models for word in ("--model", model)]
    jobs = planned(*named, "--only", "layer_lesion", "--device", device, "--tokens", "100000", "--control", "none")
    asked = {job["wildcards"].get("model"): job["resources"] for job in jobs}
    in_order = [asked[model] for model in ("pocket", "gpt2", "pythia-2.8b", "pythia-12b", "qwen2.5-14b")]
    for name in ("mem_mb", "threads", "gpu", "runtime"):
        amounts = [int(resources[name]) for resources in in_order]
        assert amounts == sorted(amounts)
        assert amounts[0] < amounts[-1] or name in ("gpu",)
    assert asked["pocket@step100"] == asked["pocket"]
    assert {int(resources["gpu"]) for resources in in_order} <= gpus
    assert int(asked["pythia-12b"]["mem_mb"]) > 11.8e9 * 4 / 1e6, "its weights in float32"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--only", "nonsense"], "no experiment 'nonsense'"),
        (["--model", "nonsense"], "no model 'nonsense'"),
        (["--force"], "--force is not for a workflow"),
        (["--corpus", "a b"], "No closing quotation"),  # Snakemake takes away quotation marks at the end
    ],
    ids=["no such experiment", "no such model", "force", "quotation"],
)
def test_options_that_cannot_be_used_are_named_without_a_traceback(given, expected, snakemake, tmp_path):
    assert snakemake(tmp_path, given, "--dry-run").wait() != 0
    said = (tmp_path / "snakemake.log").read_text()
    assert f"workflow: {expected}" in said and "Traceback" not in said
