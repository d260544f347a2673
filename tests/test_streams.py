"""Residuals are read where they are, at every row, whatever the lengths and batches; norms divide by their scale."""

import pytest
import torch
from checkpoints import KINDS

from helpers import blocks
from helpers.engine import streams
from helpers.engine.batches import rows_per_call

TOKENS = torch.arange(30).reshape(3, 10)


def rows_of(bridge, tokens) -> list[torch.Tensor]:
    """What enters every block and what leaves the last, by TransformerLens' own means."""
    _, cache = bridge.run_with_cache(tokens)
    last = bridge.cfg.n_layers - 1
    return [*(cache[f"blocks.{layer}.hook_in"] for layer in range(last + 1)), cache[f"blocks.{last}.hook_out"]]


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_visited_once_and_in_order(kind, bridges):
    bridge, visited = bridges[kind], []
    streams.visit_rows(bridge, TOKENS, lambda row, residual: visited.append((row, residual)))
    assert [row for row, _ in visited] == [0, 1, 2, 3, 4]
    for (_, residual), expected in zip(visited, rows_of(bridge, TOKENS), strict=True):
        torch.testing.assert_close(residual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_block_by_block_the_same_rows_come_out(kind, bridges):
    bridge = bridges[kind]
    rows = streams.intact_streams(bridge, TOKENS, blocks.record_inputs(bridge, TOKENS))
    torch.testing.assert_close(rows, torch.stack(rows_of(bridge, TOKENS)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "phi", "llama"])
def test_the_final_residual_is_what_the_model_predicts_from(kind, bridges):
    bridge = bridges[kind]
    hidden = streams.final_hidden(bridge, streams.final_residual(bridge, TOKENS))
    torch.testing.assert_close(bridge.unembed(hidden), bridge(TOKENS, use_cache=False)[:, 1:-1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "phi", "llama"])
@pytest.mark.parametrize("batch_size", ["auto", 1, "2"])
def test_places_are_read_in_the_order_they_are_asked_for(kind, batch_size, bridges):
    """Also several of one sequence, the same one twice, and none of another sequence."""
    bridge = bridges[kind]
    sequence, position = torch.tensor([2, 0, 2, 0, 2]), torch.tensor([5, 9, 0, 3, 5])
    read = streams.at_places(bridge, TOKENS, sequence, position, batch_size)
    expected = torch.stack([row[sequence, position] for row in rows_of(bridge, TOKENS)])
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "neox_sequential", "qwen2"])
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_sequences_of_different_lengths_are_read_as_if_alone(kind, batch_size, bridges):
    bridge = bridges[kind]
    sequences = [torch.arange(4, 4 + length) for length in (9, 3, 12, 3)]
    sequence, position = torch.tensor([0, 1, 2, 2, 3]), torch.tensor([8, 2, 11, 4, 0])
    read = streams.at_places(bridge, sequences, sequence, position, batch_size)
    for number, (at, place) in enumerate(zip(sequence.tolist(), position.tolist(), strict=True)):
        for row, alone in zip(read[:, number], rows_of(bridge, sequences[at][None]), strict=True):
            torch.testing.assert_close(row, alone[0, place], atol=1e-4, rtol=1e-4)


def test_one_block_runs_on_all_streams_in_as_many_parts_as_it_takes(bridges, monkeypatch):
    bridge = bridges["llama"]
    inputs = blocks.record_inputs(bridge, TOKENS)
    residual = blocks.embed(bridge, TOKENS)
    expected = blocks.run_block(bridge, 1, residual, inputs)
    assert rows_per_call(bridge, 10) > 6
    for rows in (1, 4, 6):
        monkeypatch.setattr(streams, "rows_per_call", lambda bridge, context, rows=rows: rows)
        both = torch.stack([residual, residual])
        streams.advance(bridge, 1, both, inputs)
        for stream in both:
            torch.testing.assert_close(stream, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 1e-3])  # the norm's epsilon shows in the smaller one
@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_is_what_the_final_norm_divides_by(kind, size, bridges):
    bridge = bridges[kind]
    residual = size * (torch.randn(2, 5, bridge.cfg.d_model, generator=torch.Generator().manual_seed(0)) + 0.5)
    normed = streams.centred(bridge, residual) / streams.norm_scale(bridge, residual)
    expected = bridge.ln_final(residual)  # its weights are folded into the unembedding
    torch.testing.assert_close(normed, expected, rtol=1e-5, atol=1e-5)


def test_only_layer_norm_takes_the_mean_off(bridges):
    residual = torch.tensor([[1.0, 2.0, 3.0]])
    assert streams.centred(bridges["neox_sequential"], residual).tolist() == [[-1, 0, 1]]
    assert streams.centred(bridges["llama"], residual).tolist() == [[1, 2, 3]]
