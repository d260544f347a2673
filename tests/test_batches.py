"""However the sequences are cut, and however often memory runs out, the results are the same."""

import pandas as pd
import pytest
import torch
from checkpoints import VOCABULARY

from helpers import lens, lesion
from helpers.engine import batches
from helpers.errors import InputError

ROWS = torch.arange(40).reshape(10, 4)


def limited_to(most: int, calls: list, error: Exception):
    """Work that runs out of memory on more than ``most`` rows; ``calls`` lists how many each call got."""

    def run(first, part):
        calls.append(len(part))
        if len(part) > most:
            raise error
        return first, part

    return run


@pytest.mark.parametrize("size", [1, 3, 10, 99])
def test_parts_come_in_order_and_cover_everything_once(size):
    parts = batches.in_parts(ROWS, size, lambda first, part: (first, part))
    assert torch.equal(torch.cat([part for _, part in parts]), ROWS)
    assert [first for first, _ in parts] == list(range(0, 10, size))
    assert max(len(part) for _, part in parts) == min(size, 10)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: ..."),
        MemoryError(),
    ],
)
def test_when_memory_runs_out_half_as_much_is_tried_and_nothing_is_done_twice(error):
    calls = []
    parts = batches.in_parts(ROWS, 8, limited_to(3, calls, error))
    assert torch.equal(torch.cat([part for _, part in parts]), ROWS)
    assert calls == [8, 4, 2, 2, 2, 2, 2]


def test_a_real_allocation_that_fails_is_recognised():
    calls = []

    def run(first, part):
        calls.append(len(part))
        return torch.empty(2**56 if len(part) > 5 else 1).shape

    assert len(batches.in_parts(ROWS, 10, run)) == 2
    assert calls == [10, 5, 5]


def test_a_single_row_that_does_not_fit_says_what_to_do():
    with pytest.raises(batches.OutOfMemoryError, match="single sequence of 4 tokens: use a shorter --context"):
        batches.in_parts(ROWS, 8, limited_to(0, [], MemoryError()))
    assert issubclass(batches.OutOfMemoryError, InputError)


def test_an_inner_loop_that_gives_up_makes_the_outer_one_take_less():
    calls = []

    def outer(first, part):
        batches.in_parts(part, 2, limited_to(2 if len(part) <= 5 else 0, calls, MemoryError()))
        return part

    parts = batches.in_parts(ROWS, 10, outer)
    assert torch.equal(torch.cat(parts), ROWS)
    assert calls == [2, 1, 2, 2, 1, 2, 2, 1]


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"):
        batches.in_parts(ROWS, 8, limited_to(1, [], RuntimeError("shapes do not match")))


@pytest.mark.parametrize("sweep", [lesion.sweep, lens.sweep])
def test_a_sweep_that_runs_out_of_memory_halfway_gives_the_same_table(sweep, bridges, monkeypatch):
    bridge = bridges["gpt2"]
    tokens = torch.randint(VOCABULARY, (5, 12), generator=torch.Generator().manual_seed(0))
    expected = sweep(bridge, tokens, batch_size=5)
    block, rows = bridge.blocks[2], []

    def refuse(_module, args):
        rows.append(len(args[0]))
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = block.register_forward_pre_hook(refuse)
    try:
        found = sweep(bridge, tokens, batch_size=5)
    finally:
        handle.remove()
    assert max(rows) > 2
    keys = [key for key in ("sequence", "layer", "intervention") if key in expected]
    pd.testing.assert_frame_equal(
        found.sort_values(keys, ignore_index=True), expected.sort_values(keys, ignore_index=True), atol=1e-5, rtol=0
    )


def test_less_free_memory_means_smaller_batches_and_calls(bridges, monkeypatch):
    bridge = bridges["gpt2"]
    plenty = batches.auto_batch_size(bridge, 64, streams=8), batches.rows_per_call(bridge, 64)
    bytes_of_one = 8 * 64 * bridge.cfg.d_model * 4
    assert plenty == (batches.CPU_STREAM_BYTES // bytes_of_one, batches.CPU_TOKENS_PER_CALL // 64)
    monkeypatch.setattr(batches, "free_memory", lambda device: 4 * 3 * bytes_of_one)
    assert batches.auto_batch_size(bridge, 64, streams=8) == 3
    assert batches.rows_per_call(bridge, 64) < plenty[1]
    monkeypatch.setattr(batches, "free_memory", lambda device: 0)
    assert batches.auto_batch_size(bridge, 64, streams=8) == batches.rows_per_call(bridge, 64) == 1
