"""Planted boundaries are recovered, flat curves and untrained twins have none, disorder is reported."""

import numpy as np
import pandas as pd
import pytest

from helpers import attention, lens, lesion, models, norms, paths
from helpers.errors import InputError
from helpers.judging import runs, stages

N_SEQUENCES = 16


def write(slug: str, column: str, curves: np.ndarray, model: str = "toy") -> None:
    """Sequences x layers of one measure."""
    n_sequences, n_layers = curves.shape
    rows = pd.DataFrame(
        {"sequence": np.repeat(range(n_sequences), n_layers), "layer": np.tile(range(n_layers), n_sequences)}
    )
    paths.results(model).mkdir(parents=True, exist_ok=True)
    rows.assign(**{column: curves.ravel()}).to_parquet(paths.results(model) / f"{slug}.sequences.parquet")


def propose(model: str) -> pd.DataFrame:
    return stages.propose(runs.require(model, stages.MEASURED))


def plant(n_layers: int, first: int, second: int, third: int, noise: float = 0.1, seed: int = 0) -> None:
    """Local attention falls at ``first``, the lens's KL from ``second`` on, MLPs grow at ``third``."""
    generator = np.random.default_rng(seed)

    def noisy(curve):
        return np.maximum(curve * (1 + noise * generator.standard_normal((N_SEQUENCES, len(curve)))), 0)

    layers = np.arange(n_layers)
    write(attention.SLUG, "attention_share_no_bos", noisy(np.where(layers < first, 0.6, 0.3)))
    slopes = noisy(np.where(layers < second, 0.05, 0.4) * 24 / n_layers)
    kl = np.concatenate([np.zeros((N_SEQUENCES, 1)), np.cumsum(slopes, axis=1)], axis=1)
    write(lens.SLUG, "kl_nats", kl[:, -1:] - kl)
    write(norms.SLUG, "mlp_to_residual", noisy(np.where(layers < third, 0.2, 0.35)))


@pytest.mark.parametrize(
    ("n_layers", "planted"), [(12, (3, 6, 11)), (24, (5, 12, 21)), (48, (10, 25, 44)), (12, (1, 2, 3))]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_boundaries_are_recovered_within_one_layer(n_layers, planted, seed):
    plant(n_layers, *planted, seed=seed)
    found = propose("toy")
    assert abs(found["layer"] - list(planted)).max() <= 1
    assert (found["layer_low"] <= found["layer"]).all() and (found["layer"] <= found["layer_high"]).all()
    assert (found["layer_high"] - found["layer_low"]).max() <= 2
    assert found["depth"].tolist() == pytest.approx((found["layer"] - 0.5) / (n_layers - 1))
    assert stages.order(found) == "in order"


def test_stages_out_of_order_are_reported_where_they_are():
    plant(24, 15, 8, 4)
    found = propose("toy")
    assert abs(found["layer"] - [15, 8, 4]).max() <= 1
    assert stages.order(found) == "out of order"


@pytest.mark.parametrize("seed", range(3))
def test_a_flat_curve_has_no_boundary(seed):
    generator = np.random.default_rng(seed)
    write(attention.SLUG, "attention_share_no_bos", 0.3 + 0.03 * generator.standard_normal((N_SEQUENCES, 24)))
    write(lens.SLUG, "kl_nats", np.linspace(5, 0, 25) + 0.02 * generator.standard_normal((N_SEQUENCES, 25)))
    write(norms.SLUG, "mlp_to_residual", 0.2 + 0.02 * generator.standard_normal((N_SEQUENCES, 24)))
    found = propose("toy")
    assert found[["layer", "depth", "layer_low"]].isna().all(axis=None)
    assert stages.order(found).startswith("0 of 3")


def test_a_rise_before_the_peak_does_not_hide_the_fall_behind_it():
    plant(12, 3, 6, 11)
    write(attention.SLUG, "attention_share_no_bos", np.array([[2, 3, 6, 5, 3, 3, 3, 3, 2, 2, 3, 2]] * N_SEQUENCES) / 10)
    assert propose("toy")["layer"].iloc[0] == 4  # of the bare curve the best step is the late one, at 8


def test_a_step_the_wrong_way_is_no_boundary():
    plant(24, 5, 12, 20)
    for boundary in stages.BOUNDARIES:
        rows = pd.read_parquet(paths.results("toy") / f"{boundary.experiment}.sequences.parquet")
        curve = rows.pivot(index="sequence", columns="layer", values=boundary.column).to_numpy()
        turned = curve[:, :1] - curve if boundary.experiment == lens.SLUG else 1 - curve
        write(boundary.experiment, boundary.column, turned)
    assert propose("toy")["layer"].isna().all()


def test_a_step_that_half_of_the_sequences_lack_is_no_boundary():
    plant(24, 5, 12, 20, noise=0)
    curves = np.where(np.arange(24) < 5, 0.45, 0.35) * np.ones((N_SEQUENCES, 1))  # contrast 0.22
    curves[::2] = np.where(np.arange(24) < 5, 0.6, 0.3)
    write(attention.SLUG, "attention_share_no_bos", curves)
    clear = propose("toy").iloc[0]
    assert clear["layer"] == 5
    curves[::2] = np.where(np.arange(24) < 5, 0.5, 0.35)
    write(attention.SLUG, "attention_share_no_bos", curves)
    unclear = propose("toy").iloc[0]
    assert np.isnan(unclear["layer"]) and 0 < unclear["share_found"] < 0.975


def test_the_untrained_twin_has_no_boundary(checkpoints):
    """The real architecture without training: nothing to divide."""
    twin = models.load("pocket@untrained")
    tokens = torch_tokens(twin)
    for experiment in (attention, lens, norms):
        rows = experiment.sweep(twin, tokens)
        paths.results("pocket@untrained").mkdir(parents=True, exist_ok=True)
        rows.to_parquet(paths.results("pocket@untrained") / f"{experiment.SLUG}.sequences.parquet")
    assert propose("pocket@untrained")["layer"].isna().all()


def torch_tokens(bridge):
    from helpers.corpus import windows

    return windows(bridge, "bundled", tokens=8 * 64, context=64)


def test_the_split_is_the_one_of_a_slow_search():
    generator = np.random.default_rng(0)
    for n_layers in (2, 3, 7, 12):
        curves = generator.random((20, n_layers))
        for rises in (True, False):
            where, before, after = stages.step(curves, rises)
            for curve, w, b, a in zip(curves, where, before, after, strict=True):
                costs = {
                    s: sum(abs(x - np.median(part)) for part in (curve[:s], curve[s:]) for x in part)
                    for s in range(1, n_layers)
                    if (np.median(curve[s:]) > np.median(curve[:s])) == rises
                }
                if costs:
                    assert costs[w] == pytest.approx(min(costs.values()))  # splits may tie
                    assert (b, a) == (np.median(curve[:w]), np.median(curve[w:]))
                else:
                    assert (w, b) == (0, a)


def test_what_is_missing_is_named_with_the_command():
    write(attention.SLUG, "attention_share_no_bos", np.ones((2, 4)))
    with pytest.raises(
        InputError, match=r"logit_lens has not been run on toy: \./run_all\.sh --model toy --only logit_lens"
    ):
        propose("toy")


def test_a_model_of_one_layer_has_no_boundary():
    for boundary in stages.BOUNDARIES:
        write(boundary.experiment, boundary.column, np.ones((3, 2 if boundary.experiment == lens.SLUG else 1)))
    assert propose("toy")["layer"].isna().all()
    assert runs.measures("toy", [lesion.SLUG]) == {lesion.SLUG: []}
