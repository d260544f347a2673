"""What a job will cost, against what jobs have taken."""

import json
import subprocess
import sys
import time
from pathlib import Path

import checkpoints as kinds
import pandas as pd
import pytest
import torch
from fake_hub import FakeHub, Repository

from helpers import paths
from helpers.command import costs, footprint, options, tasks
from helpers.command.costs import Cost
from helpers.command.formulas import EXPERIMENTS
from helpers.command.workload import Run
from helpers.engine import architectures, rates
from helpers.engine.arithmetic import Sizes
from helpers.engine.rates import Rates
from helpers.errors import InputError

BENCHMARKS = paths.ROOT / "benchmarks"
AT = Rates(cpu=3.4e11, gpu=3.4e13, cpu_is="a processor", gpu_is="a GPU")  # that of the benchmarks
ONE_THREAD = Rates(cpu=1.7e11, gpu=3.4e13)
WORK = {
    "sweep": (Run.lesions, 2),
    "logit lens": (Run.lens, 2),
    "one forward pass": (lambda run, tokens: run.passes(1, tokens), 2),
    "local attention": (lambda run, tokens: run.passes(1, tokens), 3),
    "MLP norm": (lambda run, tokens: run.passes(1, tokens), 3),
    "neurons (weights only)": (lambda run, tokens: run.moments(run.neurons), 2),
}
LISTED = """
import json, sys
from helpers.engine import architectures
print(architectures.config_of(sys.argv[1]).num_hidden_layers)
"""


def chosen(*words: str) -> options.Options:
    return options.read(["--preset", "gpt2", *words])


@pytest.fixture
def shapes(monkeypatch):
    """The models whose shapes are measured in ``benchmarks``."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import shapes

    return shapes


def within(factor: float, predicted: float, measured: float) -> bool:
    return measured / factor <= predicted <= measured * factor


def run_of(config, n_sequences: int, context: int = 256) -> Run:
    return Run(Sizes.of(architectures.skeleton(config)), n_sequences, context)


@pytest.mark.parametrize("what", WORK)
def test_sweeps_take_about_what_the_benchmarks_measured(what, shapes):
    measured = pd.read_csv(BENCHMARKS / "results.csv").set_index(["shape", "what"])
    work, factor = WORK[what]
    for shape, n_sequences in {"gpt2": 4, "pythia-410m": 2, "48-layers": 2, "12-layers": 16}.items():
        run = run_of(shapes.CONFIGS[shape](), n_sequences)
        seconds = work(run, run.tokens) / (1e9 * measured.loc[(shape, "square products [GFLOP/s]"), "rate"])
        assert within(factor, seconds, measured.loc[(shape, what), "seconds"]), (shape, seconds)


def test_time_grows_with_layers_and_tokens_as_measured(shapes):
    growth = pd.read_csv(BENCHMARKS / "growth.csv").query("what == 'sweep'")
    for row in growth.itertuples():
        n_layers, n_tokens = (row.value, 512) if row.against == "layers" else (12, row.value)
        run = run_of(shapes.narrow(n_layers, width=256, vocab_size=8192), n_tokens // 256)
        assert within(2, run.lesions(run.tokens) / AT.cpu, row.seconds), row


def test_notebooks_take_about_what_they_took():
    measured = pd.read_csv(BENCHMARKS / "notebooks.csv").set_index("notebook")["seconds"]
    five = measured.pop("the five of the paper")
    pocket = options.read([])
    predicted = pd.Series({slug: costs.of("pocket", slug, pocket, ONE_THREAD).cpu_seconds for slug in measured.index})
    ratio = predicted / measured
    assert set(measured.index) == set(EXPERIMENTS)
    assert ratio.between(1 / 3, 3).all(), ratio
    assert within(1.5, predicted.sum(), measured.sum())
    of_gpt2 = chosen("--tokens", "4096", "--context", "256", "--control", "none")
    assert within(2, sum(costs.of("gpt2", slug, of_gpt2, AT).cpu_seconds for slug in options.MEASURED), five)


def test_memory_is_about_what_loading_took():
    one, with_twins = (costs.of("gpt2", "mlp_norm", chosen("--control", which), AT) for which in ("none", "untrained"))
    assert within(1.2, one.memory_bytes, 2.9e9)
    assert within(1.2, with_twins.memory_bytes, 4.2e9)


def test_every_notebook_has_its_entry_and_every_entry_its_notebook():
    assert {options.slug_of(notebook) for notebook in options.experiment_notebooks()} == set(EXPERIMENTS)


def test_a_notebook_without_an_entry_is_refused():
    with pytest.raises(InputError, match="the cost of my_idea is not known: say what it runs"):
        costs.of("gpt2", "my_idea", chosen(), AT)


@pytest.mark.parametrize("slug", EXPERIMENTS)
def test_larger_models_and_twins_cost_more_and_more_text_never_less(slug):
    few, many = ("--control", "none", "--tokens", "20000"), ("--control", "none", "--tokens", "200000")
    least, longer = (costs.of("gpt2", slug, chosen(*words), AT) for words in (few, many))
    larger = costs.of("gpt2-large", slug, chosen(*few), AT)
    twins = costs.of("gpt2", slug, chosen("--tokens", "20000", "--control", "untrained"), AT)
    if EXPERIMENTS[slug].operations is None:  # tables are all that is read
        assert least.cpu_seconds == longer.cpu_seconds == larger.cpu_seconds == twins.cpu_seconds
        return
    assert least.cpu_seconds <= longer.cpu_seconds
    assert least.cpu_seconds < min(larger.cpu_seconds, twins.cpu_seconds)
    assert least.memory_bytes < larger.memory_bytes and least.memory_bytes <= twins.memory_bytes
    assert all(cost.gpu_seconds < cost.cpu_seconds for cost in (least, longer, larger, twins))


def test_no_more_tokens_a_sequence_than_the_model_takes_and_no_twins_of_a_twin():
    run = costs.run_of("pocket@untrained", "mlp_norm", chosen("--tokens", "5120", "--context", "512"))
    assert (run.n_sequences, run.context, run.twins) == (20, 256, 0)


def test_half_precision_is_lighter_but_for_the_lesions_which_are_compared_with_float32():
    whole, half = chosen("--control", "none"), chosen("--control", "none", "--dtype", "bfloat16")
    assert costs.run_of("gpt2", "layer_lesion", half).exact == 1
    assert costs.run_of("gpt2", "logit_lens", half).exact == costs.run_of("gpt2", "layer_lesion", whole).exact == 0
    run, experiment = costs.run_of("gpt2", "last_layers", whole), EXPERIMENTS["last_layers"]
    assert footprint.peak_bytes(run, experiment, "bfloat16") < footprint.peak_bytes(run, experiment, "float32")


def test_a_local_checkpoint_costs_by_its_own_sizes(checkpoints):
    cost = costs.of(str(checkpoints["phi"]), "layer_lesion", chosen("--context", "64"), AT)
    run = costs.run_of(str(checkpoints["phi"]), "layer_lesion", chosen("--context", "64"))
    assert cost.n_parameters == run.sizes.n_parameters < 1e6
    assert (run.n, run.sizes.d_model, run.context) == (kinds.LAYERS, kinds.WIDTH, 64)


@pytest.mark.slow
def test_of_a_model_on_the_hub_the_configuration_alone_is_asked_for(checkpoints, tmp_path):
    with FakeHub({"acme/tiny": Repository({"main": Path(checkpoints["llama"])})}) as hub:
        command = [sys.executable, "-c", LISTED, "acme/tiny"]
        done = subprocess.run(command, env=hub.environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout) == kinds.LAYERS, done.stderr
    files = {path.rpartition("/")[2] for _, path in hub.requests if "/resolve/" in path}
    assert files == {"config.json"}


def listed(states: dict[str, str] | None = None, *words: str) -> tuple[list[str], dict[tasks.Task, Cost]]:
    """The lines, and the costs that they are of."""
    asked = options.read(["--preset", "paper", "--model", "gpt2", "--model", "qwen2.5-14b", *words])
    jobs = tasks.outline(asked)
    lines = costs.lines(jobs, {job: (states or {}).get(job.model, "to run") for job in jobs}, asked, AT)
    return lines, {job: costs.of(job.model, job.slug, asked, AT) for job in jobs}


def test_every_job_has_a_line_in_columns_that_fit():
    lines, of_jobs = listed()
    table, sums = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert len(table) == 1 + len(of_jobs)
    assert len({len(line) for line in table}) == 1
    assert max(map(len, lines)) <= 120
    *before, hours, _, minutes, unit = table[1].split()
    assert " ".join(before) == "gpt2 01_layer_lesion to run 124 M 2.8 GB"
    assert 4 < float(hours) < 6 and 2 < float(minutes) < 4 and unit == "min"
    assert [line.split("  ")[0] for line in sums[1:3]] == ["on this CPU", "on one GPU"]


def test_sums_are_of_what_is_to_run():
    lines, of_jobs = listed({"gpt2": "up to date"})
    seconds = sum(cost.cpu_seconds for job, cost in of_jobs.items() if job.model == "qwen2.5-14b")
    assert "jobs: 13, models: 1; the largest" in lines[-7]
    assert f"{seconds / 86400:.0f} d  a processor" in lines[-6]
    assert listed(dict.fromkeys(("gpt2", "qwen2.5-14b"), "up to date"))[0][-1] == "nothing to run"


def test_the_longest_chain_waits_for_the_tables_that_are_read():
    jobs = {job.slug: job for job in tasks.outline(chosen("--only", "layer_lesion,logit_lens,mlp_norm,residual_paths"))}
    seconds = dict(zip(jobs.values(), (5.0, 3.0, 6.0, 7.0), strict=True))
    assert list(jobs) == ["layer_lesion", "logit_lens", "mlp_norm", "residual_paths"]
    assert costs.longest_chain(seconds) == 8.0  # the lens reads the lesions' rows


def test_a_million_tokens_are_laid_beside_the_papers_hours():
    assert "the authors, on two A6000: 32 hours" in listed()[0][-1]
    assert "authors" not in "".join(listed(None, "--tokens", "50000")[0])


def test_checkpoints_cost_no_twins():
    asked = options.read(["--only", "mlp_norm,training_dynamics"])
    jobs = tasks.outline(asked)
    table = costs.lines(jobs, dict.fromkeys(jobs, "to run"), asked, AT)
    own, at_a_step = (next(line for line in table if line.split()[0] == name) for name in ("pocket", "pocket@step100"))
    assert int(own.split()[-4]) > int(at_a_step.split()[-4])


def test_rates_are_measured_or_said_to_be_assumed(monkeypatch):
    rates.here.cache_clear()
    here = rates.here("bfloat16")
    assert here.cpu > 1e9 and "measured" in here.cpu_is
    assert here.gpu == pytest.approx(0.3 * 154.8e12) and "assumed" in here.gpu_is
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.setattr(rates, "gpu_rate", lambda dtype: {torch.bfloat16: 2e14}[dtype])
    rates.here.cache_clear()
    assert rates.here("bfloat16").gpu == pytest.approx(6e13)
    assert rates.here("bfloat16").gpu_is == "A GPU: 30%, assumed, of 200.0 TFLOP/s, measured now in bfloat16"
    rates.here.cache_clear()


def test_the_processor_is_measured_on_one_thread_and_left_as_it_was():
    before = torch.get_num_threads()
    a = torch.randn(512, 512)
    start = time.thread_time()
    for _ in range(20):
        a @ a
    seconds = (time.thread_time() - start) / 20
    assert within(4, rates.thread_rate(512), 2 * 512**3 / seconds)
    assert torch.get_num_threads() == before
