"""Fitted maps and temperatures: found where they are planted, as good as a slow search, none where there is none."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from helpers import metrics
from helpers.beyond import fits
from helpers.engine.readout import Unembedding

WIDTH, VOCABULARY, PLACES = 12, 50, 400


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_planted_affine_map_is_found():
    x, weight, offset = 3 + normal(PLACES, WIDTH), normal(WIDTH, 5, seed=1), normal(5, seed=2)
    found = fits.fit_affine(x, x @ weight + offset)
    new = normal(20, WIDTH, seed=3)
    torch.testing.assert_close(found(new), new @ weight + offset, rtol=0, atol=1e-3)
    assert found.penalty == min(fits.PENALTIES)


def test_where_there_is_nothing_to_find_the_map_is_nearly_the_mean():
    x, noise = normal(60, WIDTH), 2 + normal(60, 5, seed=1)
    found = fits.fit_affine(x, noise)
    assert found.penalty == max(fits.PENALTIES)
    new, new_noise = normal(2000, WIDTH, seed=2), 2 + normal(2000, 5, seed=3)
    error, of_mean = ((new_noise - guess).square().mean() for guess in (found(new), new_noise.mean(0)))
    least_squares = torch.linalg.lstsq(x - x.mean(0), noise - noise.mean(0)).solution
    of_lines = (new_noise - noise.mean(0) - (new - x.mean(0)) @ least_squares).square().mean()
    assert of_mean < error < of_lines


@pytest.mark.parametrize("noise", [0.01, 1.0, 10.0])
def test_penalty_and_map_are_those_of_a_slow_computation(noise):
    """Every penalty with its hat matrix written out; the map is scikit-learn's at that penalty."""
    x = normal(PLACES, WIDTH) * torch.logspace(-2, 1, WIDTH)
    y = x @ normal(WIDTH, 5, seed=1) + noise * normal(PLACES, 5, seed=2)
    found = fits.fit_affine(x, y)
    centred = (x - x.mean(0)).double().numpy()
    scale = (centred**2).mean(0).mean()
    scores = {}
    for penalty in fits.PENALTIES:
        inverse = np.linalg.inv(centred.T @ centred + PLACES * penalty * scale * np.eye(WIDTH))
        hat = centred @ inverse @ centred.T + 1 / PLACES
        residual = y.double().numpy() - hat @ y.double().numpy()
        scores[penalty] = (residual**2).sum() / PLACES / (1 - np.trace(hat) / PLACES) ** 2
    assert found.penalty == min(scores, key=lambda penalty: scores[penalty])
    ridge = Ridge(alpha=PLACES * found.penalty * scale).fit(x.double().numpy(), y.double().numpy())
    np.testing.assert_allclose(found(x).numpy(), ridge.predict(x.double().numpy()), rtol=1e-3, atol=1e-3)


def test_fewer_places_than_dimensions_still_give_a_map():
    x = normal(8, WIDTH)
    assert fits.fit_affine(x, x[:, :3])(x).isfinite().all()


def a_model(seed: int = 0) -> tuple[Unembedding, torch.Tensor]:
    return Unembedding(normal(WIDTH, VOCABULARY, seed=seed), normal(VOCABULARY, seed=seed + 1)), normal(3, 20, WIDTH)


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_a_planted_temperature_is_found(factor):
    unembedding, hidden = a_model()
    labels = torch.zeros(3, 20, dtype=torch.long)
    sharper = fits.tempered(unembedding, factor).reference(factor * hidden, labels)
    reference = fits.tempered_reference(sharper, 1 / factor)  # compared with logits that are read without a factor
    assert fits.fit_inverse_temperature(unembedding, reference, hidden) == pytest.approx(factor, rel=1e-3)


def test_it_is_the_best_of_a_slow_search_and_its_kl_that_of_the_logits():
    unembedding, hidden = a_model()
    labels = torch.zeros(3, 20, dtype=torch.long)
    wanted = 2 * hidden + normal(3, 20, WIDTH, seed=9)
    reference = unembedding.reference(wanted, labels)
    found = fits.fit_inverse_temperature(unembedding, reference, hidden)
    logits, target = (values @ unembedding.weight + unembedding.bias for values in (hidden, wanted))
    factors = torch.linspace(0.05, 6, 1000)
    divergences = torch.stack([metrics.kl_divergence(target, factor * logits).mean() for factor in factors])
    assert found == pytest.approx(factors[divergences.argmin()].item(), abs=0.006)
    read = fits.tempered(unembedding, found).read(found * hidden, labels)
    divergence = fits.tempered_reference(reference, found).kl_divergence(found * hidden, read)
    expected = metrics.kl_divergence(target, found * logits)
    torch.testing.assert_close(divergence, expected, rtol=1e-3, atol=1e-4)
    assert divergence.mean() < reference.kl_divergence(hidden, unembedding.read(hidden, labels)).mean()
