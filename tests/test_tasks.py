"""Tasks: which there are, whose tables they read, and that one alone is run as it would be among all."""

from dataclasses import replace

import pytest

from helpers.command import options, tasks

GIVEN = {
    "the preset's": [],
    "one of two models": ["--model", "gpt2", "--model", "pocket", "--context", "32", "--control", "none"],
    "checkpoints": ["--model", "pocket", "--checkpoints", "step100,step1000", "--dtype", "bfloat16", "--seed", "3"],
    "shards": ["--preset", "paper", "--shards", "3", "--batch-size", "2", "--output", "a folder"],
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_a_task_alone_is_told_what_it_would_be_told_among_all(given):
    chosen = options.read(given)
    for task in tasks.outline(chosen):
        part = chosen if task.model in chosen.models else chosen.of_checkpoints()
        read = options.read(tasks.command_line(task, chosen))
        own = {"models": (task.model,), "notebooks": (task.notebook,), "has_all_notebooks": False}
        checkpoints = chosen.checkpoints if task.slug == options.READS_CHECKPOINTS else ()
        assert read == replace(part, **own, checkpoints=checkpoints, jobs=read.jobs)


def test_every_model_has_every_notebook_and_its_checkpoints_have_the_five_experiments():
    given = ["--model", "gpt2", "--model", "pocket", "--checkpoints", "a,b", "--only", "mlp_norm,detokenization"]
    found = [(task.model, task.slug) for task in tasks.outline(options.read(given))]
    of_models = [(model, slug) for model in ("gpt2", "pocket") for slug in ("mlp_norm", "detokenization")]
    assert found == of_models + [(f"{model}@{at}", "mlp_norm") for model in ("gpt2", "pocket") for at in "ab"]


@pytest.mark.parametrize(
    ("slug", "expected"),
    [
        ("layer_lesion", set()),
        ("detokenization", set()),
        ("logit_lens", {("pocket", "layer_lesion")}),
        ("prediction_suppression_neurons", {("pocket", "logit_lens")}),
        ("stages_of_inference", {(m, s) for m in ("gpt2", "pocket", "gpt2@a", "pocket@a") for s in options.MEASURED}),
        ("training_dynamics", {(model, slug) for model in ("pocket", "pocket@a") for slug in options.MEASURED}),
    ],
)
def test_a_task_needs_the_tasks_whose_tables_it_reads(slug, expected):
    outline = tasks.outline(options.read(["--model", "gpt2", "--model", "pocket", "--checkpoints", "a"]))
    task = next(task for task in outline if (task.model, task.slug) == ("pocket", slug))
    assert {(other.model, other.slug) for other in tasks.needs(task, outline)} == expected
