"""Planted boundaries are recovered; what has no step has one in at most 5 %: shuffled, straight, smooth, flat."""

import numpy as np
import pandas as pd
import pytest

from helpers import attention, lens, lesion, models, norms, paths
from helpers.corpus import windows
from helpers.errors import InputError
from helpers.judging import runs, stages, steps
from helpers.judging.measures import Measures
from helpers.stats import Resampled

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
    ("n_layers", "planted"), [(12, (4, 6, 10)), (24, (5, 12, 21)), (48, (10, 25, 44)), (12, (3, 4, 5))]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_boundaries_are_recovered_within_one_layer(n_layers, planted, seed):
    plant(n_layers, *planted, seed=seed)
    found = propose("toy")
    assert abs(found["layer"] - list(planted)).max() <= 1
    assert (found["layer_low"] <= found["layer"]).all() and (found["layer"] <= found["layer_high"]).all()
    assert (found["layer_high"] - found["layer_low"]).max() <= 2
    assert found["depth"].tolist() == pytest.approx((found["layer"] - 0.5) / (n_layers - 1))
    assert (found["shuffled_as_clear"] <= stages.CHANCE).all()
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


class SameEverywhere(Measures):
    """Measures of a text whose sequences are all alike."""

    def __init__(self, curve: np.ndarray) -> None:
        self.own = Resampled(curve, curve[None])

    def curve(self, column: str, intervention: str | None) -> Resampled:
        return self.own


@pytest.fixture
def fewer_orders(monkeypatch):
    monkeypatch.setattr(stages, "ORDERS", 500)


def verdict(curve: np.ndarray, rises: bool = True) -> dict:
    """The row of one curve, the same in every sequence; a first layer that is unlike all others goes before it."""
    whole = np.concatenate([[100 * abs(curve).max() + 1], curve])
    boundary = stages.Boundary("1 | 2", "e", "x", "", rises)
    (row,) = stages.propose({"e": [SameEverywhere(whole)]}, [boundary]).to_dict("records")
    return row


def share_found(curves: list[np.ndarray]) -> float:
    return float(np.mean([np.isfinite(verdict(curve)["layer"]) for curve in curves]))


@pytest.mark.parametrize("n_layers", [9, 23])
@pytest.mark.parametrize("place", [0.5, 0.8])
@pytest.mark.usefixtures("fewer_orders")
def test_of_planted_steps_most_are_found_and_of_their_random_orders_at_most_one_in_twenty(n_layers, place):
    generator = np.random.default_rng(n_layers)
    first = round(place * n_layers)
    planted = [
        np.where(np.arange(n_layers) < first, 0.2, 0.5) + 0.03 * generator.standard_normal(n_layers) for _ in range(60)
    ]
    assert share_found(planted) >= 0.8  # two of nine layers are few
    assert share_found([generator.permutation(curve) for curve in planted]) <= 0.05


@pytest.mark.parametrize("n_layers", [9, 23])
@pytest.mark.parametrize("noise", [0, 0.02, 0.1, 0.3])
@pytest.mark.usefixtures("fewer_orders")
def test_ramps_smooth_courses_and_noise_have_a_boundary_in_at_most_one_in_twenty(n_layers, noise):
    generator = np.random.default_rng(n_layers)
    depth = np.linspace(0, 1, n_layers)

    def noisy(course):
        return [0.3 + course + noise * generator.standard_normal(n_layers) for _ in range(60)]

    assert share_found(noisy(depth)) <= 0.05
    assert share_found(noisy(0 * depth)) <= 0.05
    assert share_found(noisy(np.sin(depth * np.pi / 2))) <= 0.05
    assert share_found(noisy(depth**2.5)) <= 0.05
    assert share_found(noisy(-depth)) <= 0.05  # the other way


def test_the_shares_of_random_orders_are_those_of_a_slow_count():
    curve = np.array([1, 1.1, 0.9, 1, 2, 2.2, 1.9])
    row = verdict(curve)
    generator, as_clear, found = np.random.default_rng(1), 0, 0
    explained = steps.best(curve[None], True).explained[0]
    for _ in range(3000):
        shuffled = generator.permutation(curve)
        step, (counts,) = stages.Boundary("", "e", "x", "", True).passes(shuffled[None])
        as_clear += step.explained[0] >= explained - 1e-9
        found += counts
    assert row["shuffled_as_clear"] == pytest.approx(as_clear / 3000, abs=0.015)
    assert row["shuffled_found"] == pytest.approx(found / 3000, abs=0.03)
    assert as_clear / 3000 == pytest.approx(1 / 35, abs=0.015)  # as many ways to put three of seven last


def test_one_layer_apart_from_nine_others_may_stand_there_by_chance():
    row = verdict(np.array([1.0] * 9 + [2.0]))
    assert np.isnan(row["layer"]) and row["share_found"] == 1
    assert row["shuffled_as_clear"] == pytest.approx(0.1, abs=0.02)


def test_all_three_are_in_order_as_often_as_a_slow_count_of_random_orders_says():
    plant(10, 3, 5, 8)
    measured = runs.require("toy", stages.MEASURED)
    shares = stages.shuffled_in_order(measured)
    curves = [boundary.curve(measured[boundary.experiment][0]).estimate for boundary in stages.BOUNDARIES]
    generator, in_order = np.random.default_rng(2), 0
    for _ in range(2000):
        order = generator.permutation(9)
        passed = [b.passes(curve[None, order]) for b, curve in zip(stages.BOUNDARIES, curves, strict=True)]
        places = [step.where[0] for step, _ in passed]
        in_order += all(counts[0] for _, counts in passed) and places == sorted(places)
    assert shares["by_itself"] == pytest.approx(in_order / 2000, abs=0.02)
    assert shares["whole_rule"] <= min(shares["by_itself"], stages.CHANCE)


@pytest.mark.parametrize(
    ("n_layers", "places", "expected", "rare_enough"),
    [(7, (3, 3, 3), 1 / 35, True), (5, (2, 2, 2), 1 / 10, False), (5, (2, 2, 3), 1 / 30, False)],
)
def test_steps_are_in_order_in_the_random_orders_that_keep_all_levels_in_one_piece(
    n_layers, places, expected, rare_enough
):
    """Of curves of two levels only an order with each level in one piece has a step that counts."""
    first, second, third = (np.arange(n_layers) < place for place in places)
    falls = np.concatenate([[50], np.where(second, 0.1, 0.5)])
    curves = {
        attention.SLUG: np.concatenate([[50], np.where(first, 0.6, 0.3)]),
        lens.SLUG: np.append(falls[::-1].cumsum()[::-1], 0),
        norms.SLUG: np.concatenate([[50], np.where(third, 0.2, 0.35)]),
    }
    shares = stages.shuffled_in_order({experiment: [SameEverywhere(curve)] for experiment, curve in curves.items()})
    assert shares["by_itself"] == pytest.approx(expected, rel=0.4)
    assert shares["whole_rule"] == (shares["by_itself"] if rare_enough else 0)


def test_a_step_in_39_of_40_resamples_is_enough_and_in_38_it_is_not():
    step, flat = np.where(np.arange(9) < 5, 1.0, 2.0), np.ones(9)
    for n_flat, found in ((1, True), (2, False)):
        draws = np.concatenate([np.full((40, 1), 9.0), np.repeat([step, flat], [40 - n_flat, n_flat], axis=0)], axis=1)
        measures = SameEverywhere(draws[0])
        measures.own = Resampled(draws[0], draws)
        boundary = stages.Boundary("1 | 2", "e", "x", "it rises", True)
        (row,) = stages.propose({"e": [measures]}, [boundary]).to_dict("records")
        assert row["share_found"] == 1 - n_flat / 40
        assert np.isfinite(row["layer"]) == found
        assert (row["between"], row["measure"], row["meaning"]) == ("1 | 2", "x", "it rises")


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


def test_the_first_layer_decides_no_boundary():
    plant(12, 4, 6, 10)
    found = propose("toy")
    for boundary in stages.BOUNDARIES:
        rows = pd.read_parquet(paths.results("toy") / f"{boundary.experiment}.sequences.parquet")
        curve = rows.pivot(index="sequence", columns="layer", values=boundary.column).to_numpy(copy=True)
        curve[:, 0] = 50
        write(boundary.experiment, boundary.column, curve)
    pd.testing.assert_frame_equal(propose("toy"), found)


def test_the_untrained_twins_have_a_boundary_in_at_most_one_in_twenty(checkpoints):
    """The real architecture without training: nothing to divide."""
    rows = {experiment: [] for experiment in (attention, lens, norms)}
    for seed in range(3):
        twin = models.load("pocket@untrained", seed=seed)
        tokens = windows(twin, "bundled", tokens=8 * 64, context=64)
        for experiment, parts in rows.items():
            parts.append(experiment.sweep(twin, tokens))
    for seed in range(3):
        alone = {experiment.SLUG: [Measures(parts[seed])] for experiment, parts in rows.items()}
        assert stages.propose(alone)["layer"].isna().all()
    together = {experiment.SLUG: [Measures(part) for part in parts] for experiment, parts in rows.items()}
    assert stages.propose(together)["layer"].isna().all()


def test_the_split_is_the_one_of_a_slow_search():
    generator = np.random.default_rng(0)
    for n_layers in (2, 3, 7, 12):
        curves = generator.random((20, n_layers))
        for rises in (True, False):
            found = steps.best(curves, rises)
            for number, curve in enumerate(curves):
                left = {
                    split: sum(((part - part.mean()) ** 2).sum() for part in (curve[:split], curve[split:]))
                    for split in range(1, n_layers)
                    if (curve[split:].mean() > curve[:split].mean()) == rises
                }
                if left:
                    where = min(left, key=left.get)
                    assert found.where[number] == where
                    squares = ((curve - curve.mean()) ** 2).sum()
                    assert found.explained[number] == pytest.approx(1 - left[where] / squares)
                    levels = found.before[number], found.after[number]
                    assert levels == pytest.approx((curve[:where].mean(), curve[where:].mean()))
                else:
                    assert (found.where[number], found.explained[number]) == (0, 0)


def test_a_smooth_course_explains_what_a_plain_least_squares_fit_of_it_does():
    curve = np.random.default_rng(3).random(11)
    courses = steps.smooth(11)
    assert (np.diff(courses) > 0).all()
    left = []
    for course in courses:
        design = np.column_stack([np.ones(11), course])
        (_, height), squares, *_ = np.linalg.lstsq(design, curve, rcond=None)
        left.append(squares[0] if height > 0 else ((curve - curve.mean()) ** 2).sum())
    expected = 1 - min(left) / ((curve - curve.mean()) ** 2).sum()
    assert steps.best(curve[None], True).explained_smoothly[0] == pytest.approx(expected)


def test_other_curves_are_judged_by_the_same_rule(bridges):
    tokens = windows(bridges["gpt2"], "bundled", tokens=4 * 64, context=64)
    measured = {
        module.SLUG: [Measures(module.sweep(bridges["gpt2"], tokens))] for module in (attention, lens, norms, lesion)
    }
    table = stages.propose(measured, stages.ALTERNATIVES)
    assert table["meaning"].is_unique and len(table) == len(stages.ALTERNATIVES)
    assert set(table["between"]) == {boundary.between for boundary in stages.BOUNDARIES}
    gained = stages.ALTERNATIVES[5].curve(measured[lens.SLUG][0]).estimate
    agreement = measured[lens.SLUG][0].curve("top1_agreement").estimate
    assert gained == pytest.approx((agreement[2:] - agreement[1:-1]) * (len(agreement) - 1))


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
