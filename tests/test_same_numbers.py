"""The same numbers: twice, in batches of any size, on any number of threads, and soon enough on a busy machine.

Twice is to the bit. Otherwise a column may differ by ``ROUNDING`` of its largest value, since products are summed in
another order. What is counted, such as agreement of best guesses, does not round: it is the same but where two tokens
are equally likely to within rounding, which may be one position of a whole table. How shards make the bytes of one run
is in ``test_shards``, and how notebooks side by side do in ``test_run_all``.
"""

import os
import statistics
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import torch

import reference
from helpers import neurons
from helpers.beyond import exchange, replaced_layers
from helpers.command.shards import SWEEPS

N_SEQUENCES, CONTEXT = 5, 23
N_PREDICTED = CONTEXT - 2
ROUNDING = 1e-5
COUNTED = [
    "relative_accuracy",
    "top1_agreement",
    "top1_commonest",
    "accuracy",
    "accuracy_intact",
    "accuracy_commonest",
    "right_to_wrong",
    "wrong_to_right",
]
MEASURED = SWEEPS | {"exchange": exchange.sweep, "replaced_layers": partial(replaced_layers.sweep, seed=3)}
KINDS = ["gpt2", "neox_parallel", "llama"]
CASES = [(kind, name) for kind in KINDS for name in MEASURED if name in SWEEPS or kind == KINDS[-1]]
PROCESSORS = 2
ROUNDS = 3
SLOWER, WASTED = 5, 3


@pytest.fixture(scope="module")
def measured(bridges, checkpoints):
    """By kind of model and name: what measures one text, and its table in one batch on one thread."""
    texts, made = {}, {}

    def case(kind: str, name: str) -> SimpleNamespace:
        if kind not in texts:
            texts[kind] = reference.familiar_tokens(reference.RawModel(checkpoints[kind]), N_SEQUENCES, CONTEXT)
        if (kind, name) not in made:
            run = partial(MEASURED[name], bridges[kind], texts[kind])
            made[kind, name] = SimpleNamespace(run=run, table=run(N_SEQUENCES))
        return made[kind, name]

    return case


@pytest.fixture
def threads():
    """Set how many threads PyTorch uses; afterwards they are as many as before."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def by_keys(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index([key for key in ("sequence", "layer", "intervention") if key in table]).sort_index()


def assert_same_but_for_rounding(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    found, expected = by_keys(found), by_keys(expected)
    assert found.index.equals(expected.index) and list(found) == list(expected)
    assert found.isna().equals(expected.isna())
    counted = [name for name in COUNTED if name in expected]
    flips = (found[counted] - expected[counted]).abs() * N_PREDICTED
    assert flips.max(axis=1).sum() < 1.5, flips
    rest = expected.columns.difference(counted)
    error = (found[rest] - expected[rest]).abs().max() / expected[rest].abs().max().where(lambda most: most > 0, 1)
    assert error.max() <= ROUNDING, error


everything = pytest.mark.parametrize(("kind", "name"), CASES)


@everything
def test_measured_twice_a_table_is_the_same_to_the_bit(kind, name, measured):
    case = measured(kind, name)
    pd.testing.assert_frame_equal(case.run(N_SEQUENCES), case.table, check_exact=True)


@everything
@pytest.mark.parametrize("batch_size", [1, 2, 3, "auto"])
def test_the_size_of_batches_changes_nothing(batch_size, kind, name, measured):
    case = measured(kind, name)
    assert_same_but_for_rounding(case.run(batch_size), case.table)


@everything
@pytest.mark.parametrize("number", [2, 4])
def test_the_number_of_threads_changes_nothing(number, kind, name, measured, threads):
    case = measured(kind, name)
    threads(number)
    assert_same_but_for_rounding(case.run(N_SEQUENCES), case.table)


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_are_the_same_twice_and_on_any_number_of_threads(kind, bridges, threads):
    def measure() -> pd.DataFrame:
        moments = neurons.moments(bridges[kind])
        return moments.assign(threshold=neurons.random_threshold(bridges[kind], n_directions=500))

    expected = measure()
    pd.testing.assert_frame_equal(measure(), expected, check_exact=True)
    for number in (2, 4):
        threads(number)
        assert_same_but_for_rounding(measure(), expected)
        pd.testing.assert_frame_equal(neurons.count(measure()), neurons.count(expected))


def test_one_flipped_guess_is_forgiven_and_two_are_not(measured):
    table = measured("gpt2", "layer_lesion").table
    flipped = table.copy()
    flipped.loc[0, ["relative_accuracy", "top1_agreement"]] += 1 / N_PREDICTED
    assert_same_but_for_rounding(flipped, table)
    flipped.loc[1, "top1_agreement"] += 1 / N_PREDICTED
    with pytest.raises(AssertionError):
        assert_same_but_for_rounding(flipped, table)
    with pytest.raises(AssertionError):
        assert_same_but_for_rounding(table.assign(kl_nats=table["kl_nats"] * (1 + 2 * ROUNDING)), table)


@pytest.mark.parametrize(("given", "expected"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(given, expected, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    script = "import helpers, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    environment = os.environ | given
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert result.stdout == f"{expected}\n", result.stderr


MEASURES = """
import os, sys, time
os.sched_setaffinity(0, map(int, sys.argv[1:]))
from helpers import corpus, lesion
from helpers.models import load
import torch
bridge = load("pocket")
tokens = corpus.windows(bridge, "bundled", tokens=128, context=128)
lesion.sweep(bridge, tokens)
print("ready", flush=True)
for threads in sys.stdin:
    torch.set_num_threads(int(threads))
    start = time.perf_counter(), time.process_time()
    lesion.sweep(bridge, tokens)
    print(time.perf_counter() - start[0], time.process_time() - start[1], flush=True)
"""
KEEPS_BUSY = "import os, sys\nos.sched_setaffinity(0, [int(sys.argv[1])])\nwhile True: pass"


@contextmanager
def others(processors: list[int]):
    """One busy process on each processor, stopped to begin with."""
    started = [psutil.Popen([sys.executable, "-c", KEEPS_BUSY, str(processor)]) for processor in processors]
    try:
        for process in started:
            process.suspend()
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes cannot be kept on chosen processors here")
def test_with_a_busy_process_on_every_processor_a_sweep_takes_a_few_times_as_long_and_not_ten(monkeypatch):
    """On two processors, alone and not alone in turns: with half of each, a sweep can take twice its time.

    Where the machine is busy already that proves little. But threads that wait without sleeping use processor time,
    wherever others want it, and on one thread there is no waiting.
    """
    processors = sorted(os.sched_getaffinity(0))[:PROCESSORS]
    if len(processors) < PROCESSORS:
        pytest.skip(f"needs {PROCESSORS} processors")
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-c", MEASURES, *map(str, processors)]
    with (
        others(processors) as busy,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as measuring,
    ):
        assert measuring.stdout.readline() == "ready\n"

        def sweep(threads: int = PROCESSORS) -> tuple[float, float]:
            print(threads, file=measuring.stdin, flush=True)
            return tuple(map(float, measuring.stdout.readline().split()))

        rounds = []
        for _ in range(ROUNDS):
            alone = sweep()
            for process in busy:
                process.resume()
            rounds.append((*alone, *sweep(), *sweep(threads=1)))
            for process in busy:
                process.suspend()
    alone, _, together, used, _, used_by_one = map(statistics.median, zip(*rounds, strict=True))
    assert together < SLOWER * alone, rounds
    assert used < WASTED * used_by_one, rounds
