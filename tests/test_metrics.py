"""The definitions, on distributions whose answers can be worked out by hand."""

import math

import pytest
import torch

from helpers import metrics

VOCABULARY = 50


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


@pytest.fixture
def p_and_q() -> torch.Tensor:
    """Two sets of random logits [2, batch, pos, vocab]."""
    return 3 * torch.randn(2, 3, 4, VOCABULARY, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.25), (0.9, 0.1), (0.2, 0.2)])
def test_kl_of_two_coins_is_the_closed_form(p, q):
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert metrics.kl_divergence(logits_of(p, 1 - p), logits_of(q, 1 - q)).item() == pytest.approx(expected)


def test_kl_is_in_nats():
    certain, fair = torch.tensor([100.0, 0.0]), torch.zeros(2)
    assert metrics.kl_divergence(certain, fair).item() == pytest.approx(math.log(2))


def test_kl_is_positive_and_0_between_equals(p_and_q):
    p, q = p_and_q
    assert (metrics.kl_divergence(p, q) > 0).all()
    assert torch.equal(metrics.kl_divergence(p, p), torch.zeros(3, 4))


def test_kl_is_not_symmetric_and_weighs_by_its_first_argument():
    sure, unsure = logits_of(0.99, 0.01), logits_of(0.5, 0.5)
    assert metrics.kl_divergence(unsure, sure).item() > 2 * metrics.kl_divergence(sure, unsure).item()


def test_entropy_of_a_uniform_prediction_is_log2_of_the_vocabulary():
    assert metrics.entropy_bits(torch.full((2, 3, 64), 7.0)).flatten().tolist() == pytest.approx([6.0] * 6)


def test_entropy_of_a_certain_prediction_is_0():
    assert metrics.entropy_bits(torch.tensor([0.0, 200.0, 0.0])).item() == pytest.approx(0, abs=1e-6)


def test_loss_is_minus_the_log_probability_of_the_label():
    logits = torch.stack([logits_of(0.5, 0.25, 0.25), logits_of(0.1, 0.1, 0.8)])
    losses = metrics.next_token_loss(logits, torch.tensor([1, 2]))
    assert losses.tolist() == pytest.approx([math.log(4), -math.log(0.8)])


def test_agreement_compares_the_largest_logits():
    intact = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    assert metrics.top1_agreement(intact, torch.tensor([[0.0, 9.0], [0.0, 0.1]])).tolist() == [True, False]


def test_of_equal_logits_the_first_counts():
    assert metrics.top1_agreement(torch.zeros(5), torch.tensor([1.0, 0, 0, 0, 0])).item()
