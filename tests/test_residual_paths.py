"""Deletions of several layers, made together in one walk, must equal each made on its own."""

from itertools import combinations

import pandas as pd
import pytest
import torch
from checkpoints import KINDS, save, some_tokens
from transformers import AutoModelForCausalLM

from helpers import blocks, lens, lesion, models, stats
from helpers.beyond import residual_paths
from helpers.engine import streams
from reference import RawModel, kl, predicting


def subsets(n_layers: int) -> list[tuple[int, ...]]:
    return [some for size in range(n_layers + 1) for some in combinations(range(n_layers), size)]


def masks(deletions: list[tuple[int, ...]], n_layers: int) -> torch.Tensor:
    return torch.tensor([[layer in deleted for layer in range(n_layers)] for deleted in deletions])


@pytest.mark.parametrize("kind", KINDS)
def test_every_set_of_layers_is_deleted_as_if_the_blocks_were_reordered(kind, bridges):
    """All 16 subsets of four layers, in an order in which neighbours do not begin alike, and one of them twice."""
    bridge, tokens = bridges[kind], some_tokens()
    deletions = [*subsets(4), (1, 2)]
    inputs = blocks.record_inputs(bridge, tokens)
    streams = residual_paths.final_streams(bridge, tokens, masks(deletions, 4), inputs)
    assert len(streams) == 17
    for deleted, stream in zip(deletions, streams, strict=True):
        order = [layer for layer in range(4) if layer not in deleted]
        expected = blocks.run_blocks(bridge, tokens, order, inputs)
        torch.testing.assert_close(stream, expected, rtol=0, atol=1e-4, msg=str(deleted))


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "qwen2"])
def test_runs_measure_what_the_raw_model_without_these_layers_shows(kind, bridges, checkpoints):
    """Position by position, in float64, on a Hugging Face model with an edited list of layers."""
    raw, tokens = RawModel(checkpoints[kind]), some_tokens(n_sequences=1)
    intact = raw.log_probabilities(tokens[0])
    table = residual_paths.sweep(bridges[kind], tokens, residual_paths.contiguous_runs(4)).set_index(
        ["start", "length"]
    )
    assert len(table) == 10
    for (start, length), row in table.iterrows():
        with raw.running([*range(start), *range(start + length, 4)]):
            lesioned = raw.log_probabilities(tokens[0])
        here = [(intact[t], lesioned[t], tokens[0, t + 1]) for t in predicting(tokens[0])]
        divergence = sum(kl(p, q) for p, q, _ in here) / len(here)
        loss_change = sum(float(p[label] - q[label]) for p, q, label in here) / len(here)
        agreement = sum(float(p.argmax() == q.argmax()) for p, q, _ in here) / len(here)
        assert row["kl_nats"] == pytest.approx(divergence, rel=1e-3, abs=1e-5)
        assert row["loss_change_nats"] == pytest.approx(loss_change, rel=1e-3, abs=1e-4)
        assert row["top1_agreement"] == pytest.approx(agreement)


def test_a_run_up_to_the_last_layer_is_a_row_of_the_logit_lens(bridges):
    """Deleting all layers from l on leaves the embedding and layers 0 .. l - 1: what the lens reads at row l."""
    bridge, tokens = bridges["pocket"], some_tokens()
    n_layers = bridge.cfg.n_layers
    runs = residual_paths.contiguous_runs(n_layers)
    to_the_end = runs[runs["start"] + runs["length"] == n_layers]
    found = residual_paths.sweep(bridge, tokens, to_the_end).set_index(["start", "sequence"]).sort_index()
    rows = lens.sweep(bridge, tokens).set_index(["layer", "sequence"]).sort_index()
    for measure in ("kl_nats", "top1_agreement", "accuracy"):
        expected = rows.loc[: n_layers - 1, measure].tolist()
        assert found[measure].tolist() == pytest.approx(expected, abs=1e-4)


def test_runs_of_one_layer_are_the_drops_of_the_layer_lesion(bridges):
    bridge, tokens = bridges["neox_sequential"], some_tokens()
    drops = lesion.sweep(bridge, tokens).query("intervention == 'drop'").set_index(["layer", "sequence"]).sort_index()
    runs = residual_paths.sweep(bridge, tokens, residual_paths.contiguous_runs(4)).query("length == 1")
    runs = runs.set_index(["start", "sequence"]).sort_index()
    for column in runs.columns.drop(["length"]):
        assert runs[column].tolist() == pytest.approx(drops[column].tolist(), abs=1e-5)


@pytest.mark.parametrize("rows_per_call", [1, 1000])
def test_all_runs_cost_a_sixth_of_n_cubed_blocks(rows_per_call, bridges, monkeypatch):
    bridge, tokens = bridges["pocket"], some_tokens(n_sequences=1)
    n_layers, calls = bridge.cfg.n_layers, []
    inputs = blocks.record_inputs(bridge, tokens)
    monkeypatch.setattr(streams, "rows_per_call", lambda *_: rows_per_call)
    handles = [
        block.register_forward_hook(lambda module, args, out: calls.append(len(args[0]))) for block in bridge.blocks
    ]
    try:
        runs = sorted(residual_paths.contiguous_runs(n_layers)["deleted"])
        residual_paths.final_streams(bridge, tokens, masks(runs, n_layers), inputs)
    finally:
        for handle in handles:
            handle.remove()
    shared = n_layers - 1  # layers 0 .. n-2 of the intact stream, on which later runs begin
    assert sum(calls) == (n_layers**3 - n_layers) // 6 + shared
    assert max(calls) <= rows_per_call


@pytest.mark.parametrize("streams", [1, 3, 64])
def test_neither_batches_nor_parts_change_a_measure(streams, bridges, monkeypatch):
    bridge, tokens = bridges["llama"], some_tokens()
    deletions = residual_paths.contiguous_runs(4)
    expected = residual_paths.sweep(bridge, tokens, deletions)
    monkeypatch.setattr(residual_paths, "STREAMS", streams)
    found = residual_paths.sweep(bridge, tokens, deletions, batch_size=2)
    keys = ["start", "length", "sequence"]
    one, other = (table.set_index(keys).sort_index() for table in (expected, found))
    assert one.index.equals(other.index)
    assert (one - other).abs().to_numpy().max() < 1e-5


def test_all_runs_are_listed_once():
    runs = residual_paths.contiguous_runs(5)
    expected = {tuple(range(start, end)) for start in range(5) for end in range(start + 1, 6)}
    assert len(runs) == 15
    assert set(runs["deleted"]) == expected
    for start, length, deleted in runs.itertuples(index=False):
        assert deleted == tuple(range(start, start + length))


@pytest.mark.parametrize("n_layers", [1, 2, 12, 48])
def test_random_deletions_have_k_different_layers_and_depend_on_the_seed_only(n_layers):
    deletions = residual_paths.random_deletions(n_layers, seed=3)
    assert deletions.equals(residual_paths.random_deletions(n_layers, seed=3))
    assert deletions.groupby("k").size().unique().tolist() == [residual_paths.DRAWS]
    counts = deletions["k"].unique().tolist()
    assert counts[0] == 1
    assert counts[-1] == max(1, n_layers - 1)
    assert len(counts) <= 11
    if n_layers == 12:
        assert counts == list(range(1, 12))
        assert not deletions.equals(residual_paths.random_deletions(12, seed=4))
        assert {layer for deleted in deletions["deleted"] for layer in deleted} == set(range(12))
    for k, _, first_kept, deleted in deletions.itertuples(index=False):
        assert len(set(deleted)) == k
        assert set(deleted) <= set(range(n_layers))
        assert first_kept == (0 not in deleted)


def test_draws_are_summarised_by_hand():
    """Two draws of k = 1: accuracies 3/4 and 1/4 of an intact 1/2; the one that spared layer 0 is the better."""
    rows = [
        {"k": 1, "draw": draw, "first_kept": draw == 0, "sequence": sequence, "accuracy": right, "accuracy_intact": 0.5}
        for draw, accuracies in enumerate([(0.5, 0.25), (0.25, 0.0)])
        for sequence, right in enumerate(accuracies)
    ]
    (row,) = residual_paths.summarise_draws(pd.DataFrame(rows)).to_dict("records")
    assert row["accuracy_ratio"] == pytest.approx(0.5)
    assert (row["accuracy_ratio_low"], row["accuracy_ratio_high"]) == (0.25, 0.75)  # the draws are resampled
    assert (row["accuracy_ratio_worst"], row["accuracy_ratio_best"]) == (0.25, 0.75)
    assert (row["accuracy_ratio_first_lost"], row["accuracy_ratio_first_kept"]) == (0.25, 0.75)


def test_a_summary_without_a_draw_that_keeps_layer_0_leaves_that_cell_empty(bridges):
    bridge, tokens = bridges["gpt2"], some_tokens()
    deletions = residual_paths.random_deletions(4)
    lost = deletions[~deletions["first_kept"]]
    three = lost.assign(draw=lost.groupby("k").cumcount()).query("draw < 3")
    rows = residual_paths.sweep(bridge, tokens, three)
    table = residual_paths.summarise_draws(rows)
    assert table["k"].tolist() == [1, 2, 3]
    assert table["accuracy_ratio_first_kept"].isna().all()
    assert table["kl_nats"].min() > 0


def test_silent_layers_can_be_deleted_together(checkpoints, tmp_path):
    """With layers 1 and 2 silenced, deleting either or both changes nothing; any other run does."""
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
        for layer in (1, 2):
            model.model.layers[layer].self_attn.o_proj.weight.zero_()
            model.model.layers[layer].mlp.down_proj.weight.zero_()
    save(model, tmp_path)
    bridge = models.load(str(tmp_path))
    for deleted, rows in runs_by_name(bridge).items():
        if set(deleted) <= {1, 2}:
            assert rows["kl_nats"].max() < 1e-5
            assert rows["top1_agreement"].min() == 1
        else:
            assert rows["kl_nats"].min() > 1e-3


def test_a_one_layer_model_in_a_short_context_has_one_run(checkpoints, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"], num_hidden_layers=1)
    save(model, tmp_path)
    bridge, tokens = models.load(str(tmp_path)), some_tokens(context=8)
    runs = residual_paths.sweep(bridge, tokens, residual_paths.contiguous_runs(1))
    assert runs[["start", "length", "sequence"]].values.tolist() == [[0, 1, n] for n in range(3)]
    draws = residual_paths.summarise_draws(residual_paths.sweep(bridge, tokens, residual_paths.random_deletions(1)))
    summary = stats.summarise(runs, residual_paths.RATIOS, keys=["start", "length"])
    assert draws["kl_nats"].tolist() == pytest.approx(summary["kl_nats"].tolist())


def runs_by_name(bridge) -> dict:
    runs = residual_paths.contiguous_runs(bridge.cfg.n_layers)
    table = residual_paths.sweep(bridge, some_tokens(), runs)
    return {tuple(range(s, s + n)): rows for (s, n), rows in table.groupby(["start", "length"])}
