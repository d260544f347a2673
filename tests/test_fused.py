"""The fused kernel gives what the attention pattern gives, and steps aside for every hook that wants to look."""

import checkpoints as kinds
import pytest
import torch

from helpers.engine import fused

TOKENS = torch.randint(kinds.VOCABULARY, (3, 40), generator=torch.Generator().manual_seed(0))
every_kind = pytest.mark.parametrize("kind", kinds.KINDS)


def watch_patterns(bridge, seen):
    return [
        (f"blocks.{layer}.attn.hook_pattern", lambda pattern, hook: seen.append(pattern))
        for layer in range(bridge.cfg.n_layers)
    ]


@every_kind
def test_predictions_are_the_same_with_and_without_patterns(kind, bridges):
    bridge, patterns = bridges[kind], []
    watched = bridge.run_with_hooks(TOKENS, fwd_hooks=watch_patterns(bridge, patterns), use_cache=False)
    unwatched = bridge(TOKENS, use_cache=False)
    assert len(patterns) == bridge.cfg.n_layers
    difference = (watched.log_softmax(-1) - unwatched.log_softmax(-1)).abs().max()
    assert 0 < difference < 1e-4, "not the same kernel, but the same numbers"


@every_kind
def test_the_kernel_is_used_where_no_hook_looks_and_only_there(kind, bridges, monkeypatch):
    bridge, calls = bridges[kind], []
    real = fused.attend
    monkeypatch.setattr(fused, "attend", lambda *args: calls.append(1) or real(*args))
    bridge(TOKENS, use_cache=False)
    assert len(calls) == bridge.cfg.n_layers
    calls.clear()
    bridge.run_with_hooks(TOKENS, fwd_hooks=watch_patterns(bridge, [])[1:2], use_cache=False)
    assert len(calls) == bridge.cfg.n_layers - 1
    calls.clear()
    bridge.run_with_cache(TOKENS)
    assert not calls


@every_kind
def test_generation_with_a_cache_still_works(kind, bridges):
    bridge = bridges[kind]
    first = bridge(TOKENS[:1], use_cache=False)[0, -1].argmax()
    generated = bridge.generate(TOKENS[:1], max_new_tokens=2, do_sample=False, verbose=False, return_type="tokens")
    assert generated[0, TOKENS.shape[1]] == first
    longer = bridge(generated[:, :-1], use_cache=False)[0, -1].argmax()
    assert generated[0, -1] == longer


def test_a_mask_that_is_not_causal_is_obeyed(bridges):
    bridge = bridges["neox_sequential"]
    attention = bridge.blocks[0].attn
    hidden = torch.randn(2, 6, bridge.cfg.d_model, generator=torch.Generator().manual_seed(1))
    window = torch.ones(6, 6, dtype=torch.bool).tril().triu(-1)[None, None]
    additive = torch.zeros(1, 1, 6, 6).masked_fill(~window, torch.finfo(torch.float32).min)
    assert fused.is_causal(torch.ones(1, 1, 6, 6, dtype=torch.bool).tril())
    assert not fused.is_causal(window) and not fused.is_causal(additive)
    seen = [fused.attend(attention, hidden, None, mask) for mask in (window, additive, None)]
    torch.testing.assert_close(seen[0], seen[1])
    torch.testing.assert_close(seen[0][:, :2], seen[2][:, :2])
    assert (seen[0][:, 2:] - seen[2][:, 2:]).abs().max() > 1e-3
