"""The chunked readout must equal the plain computation from all logits at once."""

import math
from dataclasses import replace

import pytest
import torch
from largest import largest_bytes

from helpers import models
from helpers.engine import readout
from helpers.engine.predictions import reduce

D_MODEL, VOCABULARY = 16, 97


def random(*shape: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["no bias", "bias"])
def unembedding(request) -> readout.Unembedding:
    full = readout.Unembedding(random(D_MODEL, VOCABULARY, seed=1), random(VOCABULARY, seed=2))
    return full if request.param == "bias" else without_bias(full)


def without_bias(unembedding: readout.Unembedding) -> readout.Unembedding:
    return replace(unembedding, bias=torch.zeros_like(unembedding.bias))


@pytest.fixture
def hidden() -> torch.Tensor:
    return random(3, 7, D_MODEL, seed=3)


@pytest.fixture
def other() -> torch.Tensor:
    return random(3, 7, D_MODEL, seed=4)


@pytest.fixture
def labels(unembedding, hidden) -> torch.Tensor:
    """The right token at even positions, 5 elsewhere."""
    best = log_probabilities(unembedding, hidden).argmax(-1)
    return torch.where(torch.arange(7) % 2 == 0, best, 5)


def log_probabilities(unembedding: readout.Unembedding, hidden: torch.Tensor) -> torch.Tensor:
    return (hidden.double() @ unembedding.weight.double() + unembedding.bias.double()).log_softmax(-1)


@pytest.mark.parametrize("rows", [1, 4, 20, 1000])
def test_any_chunking_gives_what_all_logits_at_once_give(rows, unembedding, hidden, other, labels, monkeypatch):
    monkeypatch.setattr(readout, "CHUNK_ROWS", rows)
    monkeypatch.setattr(readout, "CHUNK_ELEMENTS", 1)
    p, q = log_probabilities(unembedding, hidden), log_probabilities(unembedding, other)
    reference, predictions = unembedding.reference(hidden, labels), unembedding.read(other, labels)
    expected = {
        "top1": q.argmax(-1),
        "top1_probability": q.max(-1).values.exp(),
        "entropy_nats": -(q.exp() * q).sum(-1),
        "entropy_bits": -(q.exp() * q).sum(-1) / math.log(2),
        "loss_nats": torch.nn.functional.cross_entropy(q.flatten(0, 1), labels.flatten(), reduction="none").view(3, 7),
        "correct": q.argmax(-1) == labels,
    }
    for name, values in expected.items():
        torch.testing.assert_close(getattr(predictions, name), values, check_dtype=False, rtol=1e-5, atol=1e-5)
    kl = reference.kl_divergence(other, predictions)
    torch.testing.assert_close(kl, (p.exp() * (p - q)).sum(-1), check_dtype=False, rtol=1e-5, atol=1e-5)


def test_a_reference_holds_the_same_predictions_as_a_reading(unembedding, hidden, labels):
    reference, predictions = unembedding.reference(hidden, labels).predictions, unembedding.read(hidden, labels)
    assert predictions.correct.any() and not predictions.correct.all()
    for name, values in vars(predictions).items():
        assert torch.equal(getattr(reference, name), values)


def test_a_reference_without_bias_is_that_of_an_unembedding_that_has_none(unembedding, hidden, other, labels):
    reference, expected = (
        each.reference(hidden, labels, with_bias=False) for each in (unembedding, without_bias(unembedding))
    )
    for name, values in vars(expected.predictions).items():
        assert torch.equal(getattr(reference.predictions, name), values)
    read = without_bias(unembedding).read(other, labels)
    torch.testing.assert_close(reference.kl_divergence(other, read), expected.kl_divergence(other, read))


def test_reducing_leaves_the_logits_as_they_were():
    logits = random(5, VOCABULARY, seed=9)
    before = logits.clone()
    reduce(logits, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_reading_twice_is_reading_once_and_once_more_scaled_and_without_bias(
    rows, unembedding, hidden, labels, monkeypatch
):
    monkeypatch.setattr(readout, "CHUNK_ROWS", rows)
    monkeypatch.setattr(readout, "CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(readout, "CACHE_ELEMENTS", 2 * VOCABULARY)
    factor = random(3, 7, seed=6).exp()
    own, scaled = unembedding.read_twice(hidden, factor, labels)
    once = unembedding.read(hidden, labels)
    once_more = without_bias(unembedding).read(hidden * factor[..., None], labels)
    assert (factor - 1).abs().min() > 0.01
    for name in vars(once):
        torch.testing.assert_close(getattr(own, name), getattr(once, name), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(getattr(scaled, name), getattr(once_more, name), rtol=1e-5, atol=1e-5)


def test_kl_is_0_against_itself_and_never_negative(unembedding, hidden, labels):
    reference = unembedding.reference(hidden, labels)
    for scale in (0, 1e-6, 1e-4, 1e-2, 1):
        near = hidden + random(3, 7, D_MODEL, seed=5, scale=scale)
        kl = reference.kl_divergence(near, unembedding.read(near, labels))
        assert (kl >= 0).all()
        if scale <= 1e-6:
            assert kl.max() < 1e-5


def test_logits_far_from_0_do_not_overflow(hidden, labels):
    far = readout.Unembedding(random(D_MODEL, VOCABULARY, seed=1), torch.full((VOCABULARY,), 1000.0))
    near = without_bias(far)
    torch.testing.assert_close(
        far.read(hidden, labels).loss_nats, near.read(hidden, labels).loss_nats, atol=1e-3, rtol=0
    )
    assert far.read(100 * hidden, labels).entropy_nats.isfinite().all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_in_half_precision_is_read_off_in_float32(dtype, checkpoints):
    """Rounded logits would be off by hundredths, and a KL to itself by as much."""
    bridge = models.load(str(checkpoints["phi"]), dtype=dtype)
    unembedding = readout.Unembedding.of(bridge)
    hidden = bridge.ln_final(random(2, 5, bridge.cfg.d_model, seed=3, scale=10).to(bridge.W_U.dtype))
    labels = torch.zeros(2, 5, dtype=torch.int64)
    predictions = unembedding.read(hidden, labels)
    log_p = (hidden.double() @ bridge.W_U.double() + bridge.b_U.double()).log_softmax(-1)
    torch.testing.assert_close(predictions.loss_nats, -log_p[..., 0], check_dtype=False, rtol=1e-5, atol=1e-5)
    reference = unembedding.reference(hidden, labels)
    assert reference.kl_divergence(hidden, predictions).max() < 1e-5
    assert torch.backends.cuda.matmul.fp32_precision == "none"


def test_two_models_are_compared_by_their_own_predictions(unembedding, hidden, other):
    second = readout.Unembedding(random(D_MODEL, VOCABULARY, seed=7), random(VOCABULARY, seed=8))
    p, q = log_probabilities(unembedding, hidden), log_probabilities(second, other)
    kl = unembedding.kl_divergence(hidden, second, other)
    torch.testing.assert_close(kl, (p.exp() * (p - q)).sum(-1), check_dtype=False, rtol=1e-5, atol=1e-5)


def test_an_unembedding_compares_two_readings_of_its_own(unembedding, hidden, other):
    p, q = log_probabilities(unembedding, hidden), log_probabilities(unembedding, other)
    expected = (p.exp() * (p - q)).sum(-1)
    assert expected.min() > 0.1
    kl = unembedding.kl_divergence(hidden, unembedding, other)
    torch.testing.assert_close(kl, expected, check_dtype=False, rtol=1e-5, atol=1e-5)


def test_bos_and_the_last_position_are_not_counted_and_labels_follow_their_position():
    tokens = torch.arange(10)[None]
    residual = torch.arange(10.0)[None, :, None]
    assert readout.predicted_positions(residual).flatten().tolist() == list(range(1, 9))
    assert readout.labels(tokens).flatten().tolist() == list(range(2, 10))


def test_the_unembedding_is_the_models_own(bridges):
    bridge = bridges["phi"]
    tokens = torch.arange(8)[None]
    hidden = bridge.ln_final(bridge(tokens, stop_at_layer=2, use_cache=False))
    unembedding = readout.Unembedding.of(bridge)
    torch.testing.assert_close(hidden @ unembedding.weight + unembedding.bias, bridge.unembed(hidden))
    assert unembedding.bias.abs().max() > 0


@pytest.mark.parametrize("what", ["read", "reference", "read_twice"])
def test_the_logits_of_all_positions_never_exist_at_the_same_time(what):
    hidden, labels = random(3000, 8, seed=1), torch.zeros(3000, dtype=torch.int64)
    wide = readout.Unembedding(random(8, 5000, seed=2), random(5000, seed=3))
    others = (hidden[:, 0], labels) if what == "read_twice" else (labels,)
    assert largest_bytes(lambda: getattr(wide, what)(hidden, *others)) <= 4 * readout.CHUNK_ROWS * 5000
