"""The workflow on a real Slurm: its tables are those of one job after another, to the byte, whatever dies meanwhile."""

import subprocess
from collections import Counter

import pytest
from checkpoints import MadeOnce
from slurm import NODES, processes, wait_for

from helpers import paths

SMALL = ["--control", "none", "--tokens", "512", "--context", "64", "--batch-size", "2"]
EXPERIMENTS = ["layer_lesion", "logit_lens"]  # the second reads the first one's table
MADE = (".csv", ".parquet", ".png", ".svg", ".npy")
ONE_THREAD = ["--set-threads", "experiment=1", "shard=1", "pages=1"]  # as the tests have: threads round differently
SLURM = [
    "--profile",
    str(paths.ROOT / "workflow" / "profiles" / "slurm"),
    "--slurm-init-seconds-before-status-checks=2",
]
AT_MOST = 1800  # seconds

pytestmark = pytest.mark.slow


def options(models, experiments, output, *more):
    named = [word for model in models for word in ("--model", model)]
    return ["--output", str(output), *named, "--only", ",".join(experiments), *SMALL, *more]


@pytest.fixture(scope="module")
def models(checkpoints: MadeOnce) -> list[str]:
    return ["pocket", str(checkpoints["llama"]), str(checkpoints["neox_parallel"])]


@pytest.fixture(scope="module")
def sequential(has_slurm, models, tmp_path_factory):
    """The output of one plain run, job after job."""
    output = tmp_path_factory.mktemp("sequential")
    command = [paths.ROOT / "run_all.sh", *options(models, EXPERIMENTS, output), "--jobs", "1"]
    subprocess.run(command, check=True, capture_output=True)
    return output


def made(output, pattern="*"):
    files = [file for file in output.rglob(pattern) if file.suffix in MADE and file.parent.name != "shards"]
    return {str(file.relative_to(output)): file.read_bytes() for file in files}


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def submitted(cluster):
    """How each job ended, in the order of submission, by its rule and its wildcards."""
    jobs: dict[str, list[str]] = {}
    for state, _, comment in cluster.jobs():
        jobs.setdefault(comment, []).append(state)
    return jobs


def process_of(node, word):
    """What runs on a node with this word in its command line, if anything does."""
    return next((each for each in processes(node) if word in (each.info["cmdline"] or [])), None)


def test_a_node_dies_and_the_tables_are_those_of_a_sequential_run(cluster, snakemake, models, sequential, tmp_path):
    output, dying = tmp_path / "out", NODES[1]
    run = snakemake(tmp_path / "run", options(models, EXPERIMENTS, output), *SLURM, *ONE_THREAD)
    wait_for(lambda: process_of(dying, "ipykernel_launcher") or run.poll() is not None, AT_MOST)
    assert run.poll() is None
    cluster.kill_node(dying)
    wait_for(lambda: ("NODE_FAIL", dying) in [job[:2] for job in cluster.jobs()], AT_MOST)
    cluster.start_node(dying)
    assert run.wait(AT_MOST) == 0, (tmp_path / "run" / "snakemake.log").read_text()
    n_jobs = len(models) * len(EXPERIMENTS) + 1  # the pages, too
    ends = Counter(map(tuple, submitted(cluster).values()))
    assert ends == {("COMPLETED",): n_jobs - 1, ("NODE_FAIL", "COMPLETED"): 1}
    assert_same(made(output), made(sequential))


def test_four_shards_make_the_tables_of_one_and_one_that_fails_is_retried_alone(
    cluster, snakemake, models, sequential, tmp_path
):
    output, model = tmp_path / "a folder", models[1]
    cut = options([model], ["layer_lesion"], output, "--shards", "4")
    run = snakemake(tmp_path / "run", cut, *SLURM, *ONE_THREAD)
    wait_for(lambda: any(process_of(node, "--shard=2") for node in NODES) or run.poll() is not None, AT_MOST)
    next(filter(None, (process_of(node, "--shard=2") for node in NODES))).kill()
    assert run.wait(AT_MOST) == 0, (tmp_path / "run" / "snakemake.log").read_text()
    jobs = submitted(cluster)
    failed = [comment for comment, states in jobs.items() if states == ["FAILED", "COMPLETED"]]
    assert len(failed) == 1 and failed[0].startswith("rule_shard") and failed[0].endswith("_2")
    assert Counter(map(tuple, jobs.values())) == {("COMPLETED",): 5, ("FAILED", "COMPLETED"): 1}
    of_experiment = f"{paths.model_folder(model)}/layer_lesion*"
    assert_same(made(output, of_experiment), made(sequential, of_experiment))
