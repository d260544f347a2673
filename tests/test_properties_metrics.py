"""What is true of every prediction, whatever its logits: bounds, invariances, and how the measures hang together."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers import metrics


def logits(n: int, positions: int = 3) -> st.SearchStrategy[torch.Tensor]:
    """``n`` sets of logits [n, pos, vocab] over the same vocabulary, of two to nine tokens."""
    return st.integers(2, 9).flatmap(
        lambda vocabulary: arrays(float, (n, positions, vocabulary), elements=st.floats(-15, 15)).map(torch.from_numpy)
    )


@given(logits(2))
def test_kl_is_0_only_between_equal_predictions(both):
    """Pinsker's inequality: it is at least half the square of the L1 distance."""
    p, q = both.softmax(-1)
    kl = metrics.kl_divergence(*both)
    assert (kl >= (p - q).abs().sum(-1) ** 2 / 2 - 1e-12).all()
    assert metrics.kl_divergence(both[0], both[0]).tolist() == [0.0] * 3


@given(logits(2), st.floats(0, 1))
def test_kl_falls_where_the_lesioned_prediction_is_mixed_with_the_intact_one(both, share):
    p, q = both.softmax(-1)
    mixed = metrics.kl_divergence(both[0], (share * p + (1 - share) * q).log())
    assert (mixed <= (1 - share) * metrics.kl_divergence(*both) + 1e-9).all()


@given(logits(2), arrays(float, (2, 3, 1), elements=st.floats(-50, 50)))
def test_a_constant_added_to_all_logits_of_a_position_changes_nothing(both, constants):
    shifted, labels = both + torch.from_numpy(constants), torch.tensor([0, 1, 0])
    for measure in (metrics.kl_divergence, lambda p, q: metrics.kl_divergence(q, p)):
        torch.testing.assert_close(measure(*shifted), measure(*both), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(metrics.entropy_bits(shifted), metrics.entropy_bits(both), atol=1e-9, rtol=1e-9)
    for moved, own in zip(shifted, both, strict=True):
        losses = metrics.next_token_loss(moved, labels), metrics.next_token_loss(own, labels)
        torch.testing.assert_close(*losses, atol=1e-9, rtol=1e-9)


@given(logits(2), st.randoms(use_true_random=False))
def test_the_numbering_of_the_vocabulary_does_not_matter(both, random):
    numbers = list(range(both.shape[-1]))
    random.shuffle(numbers)
    renumbered = both[..., numbers]
    torch.testing.assert_close(metrics.kl_divergence(*renumbered), metrics.kl_divergence(*both))
    torch.testing.assert_close(metrics.entropy_bits(renumbered), metrics.entropy_bits(both))
    new, old = torch.arange(len(numbers))[:3], torch.tensor(numbers)[:3]
    losses = metrics.next_token_loss(renumbered[0, : len(new)], new), metrics.next_token_loss(both[0, : len(old)], old)
    torch.testing.assert_close(*losses)


@given(logits(1))
def test_entropy_is_what_is_left_of_a_uniform_prediction(of_one):
    """Between 0 and log2 of the vocabulary; less than that by the KL divergence from uniform, in bits."""
    vocabulary, entropy = of_one.shape[-1], metrics.entropy_bits(of_one[0])
    assert ((entropy >= 0) & (entropy <= math.log2(vocabulary) + 1e-12)).all()
    missing = metrics.kl_divergence(of_one[0], torch.zeros_like(of_one[0])) / math.log(2)
    torch.testing.assert_close(entropy + missing, torch.full_like(entropy, math.log2(vocabulary)))


@given(st.integers(2, 300), st.floats(-100, 100))
def test_entropy_of_a_uniform_prediction_is_log2_of_the_vocabulary(vocabulary, level):
    logits_of_all = torch.full((2, vocabulary), level, dtype=torch.float64)
    assert metrics.entropy_bits(logits_of_all).tolist() == pytest.approx([math.log2(vocabulary)] * 2)


@given(logits(1), st.floats(1, 10))
def test_sharper_predictions_have_less_entropy_and_the_same_first_guess(of_one, sharpness):
    (own,) = of_one
    assert (metrics.entropy_bits(sharpness * own) <= metrics.entropy_bits(own) + 1e-9).all()
    assert metrics.top1_agreement(own, 2 * own).all()  # by a power of two, so that no two logits are rounded to one


@given(logits(1))
def test_the_loss_expected_by_the_model_itself_is_its_entropy(of_one):
    labels = range(of_one.shape[-1])
    losses = torch.stack([metrics.next_token_loss(of_one, torch.full((1, 3), label)) for label in labels], -1)
    assert (losses >= 0).all()
    assert (-losses).exp().sum(-1).flatten().tolist() == pytest.approx([1.0] * 3)
    expected = (of_one.softmax(-1) * losses).sum(-1) / math.log(2)
    torch.testing.assert_close(metrics.entropy_bits(of_one), expected)


@given(arrays(np.int64, (3, 40, 3), elements=st.integers(0, 3)).map(torch.from_numpy))
def test_agreement_sorts_predictions_into_kinds(three):
    """It is reflexive, symmetric and transitive, of ties as well."""
    first, second, third = three.double()
    assert metrics.top1_agreement(first, first).all()
    agree = metrics.top1_agreement(first, second)
    assert torch.equal(agree, metrics.top1_agreement(second, first))
    both = agree & metrics.top1_agreement(second, third)
    assert metrics.top1_agreement(first, third)[both].all()
