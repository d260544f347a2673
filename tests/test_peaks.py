"""Planted peaks and orders are found, and no noise, however it is drawn, is taken for one."""

from itertools import permutations

import numpy as np
import pytest

from helpers import stats
from helpers.beyond import peaks
from helpers.judging import claims
from helpers.stats import Resampled, resample_weights, weighted_mean

N_ROWS, N_WORDS = 12, 100
ROWS = np.arange(N_ROWS)
HUMP = np.where(ROWS == 0, 0.5, 0.6 + 0.2 * np.exp(-(((ROWS - 6) / 2) ** 2)))
EARLY, LATE = (0.6 + 0.2 * np.exp(-(((ROWS - place) / 3) ** 2)) for place in (3, 9))
FLAT = np.full(N_ROWS, 0.65)


def curve(chances: np.ndarray, seed: int = 0) -> Resampled:
    """Words that are right with these chances in each row; both halves of them in resamples of the words."""
    right = np.random.default_rng(seed).random((2, N_WORDS, 8, N_ROWS)) < chances
    of_words = right.mean(2).swapaxes(0, 1).reshape(N_WORDS, -1)
    return weighted_mean(of_words, resample_weights(N_WORDS, seed)).map(lambda rows: rows.reshape(-1, 2, N_ROWS))


def rise(chances: np.ndarray, seed: int = 0) -> dict:
    return peaks.decide(peaks.middle_rise, [curve(chances, seed)])


def order(earlier: np.ndarray, later: np.ndarray, seed: int = 0) -> dict:
    return peaks.decide(peaks.lead, [curve(earlier, seed), curve(later, seed + 1000)])


def test_a_hump_in_the_middle_is_found_and_ramps_and_valleys_are_none():
    judged = rise(HUMP)
    assert judged["verdict"] == claims.HOLDS and judged["as_much"] <= peaks.RARE
    assert judged["statistic"] == pytest.approx(0.16, abs=0.05)
    for chances in (np.linspace(0.5, 0.8, N_ROWS), np.linspace(0.8, 0.5, N_ROWS), 1.3 - HUMP):
        assert rise(chances)["verdict"] == claims.DOES_NOT_HOLD


def test_the_embedding_counts_for_nothing():
    for row_zero in (0, 1):
        chances = np.where(ROWS == 0, row_zero, HUMP)
        assert rise(chances)["statistic"] == rise(HUMP)["statistic"]
    assert rise(np.where(ROWS == 0, 0, FLAT))["verdict"] != claims.HOLDS


def test_a_planted_order_is_found_and_so_is_its_reverse():
    assert order(EARLY, LATE)["verdict"] == claims.HOLDS
    assert order(LATE, EARLY)["verdict"] == claims.DOES_NOT_HOLD
    assert order(LATE, EARLY)["statistic"] == pytest.approx(-order(EARLY, LATE)["statistic"], abs=0.05)
    assert order(EARLY, EARLY)["verdict"] == claims.DOES_NOT_HOLD


@pytest.mark.parametrize("judge", [rise, lambda chances, seed: order(EARLY, chances, seed)], ids=["rise", "order"])
@pytest.mark.parametrize("spread", [0, 0.04, 0.1], ids=["words", "layers", "layers most"])
def test_a_noisy_curve_does_not_win(judge, spread, monkeypatch):
    """Noise of the words, and noise of the layers that all words share, as from the training of a probe."""
    monkeypatch.setattr(stats, "RESAMPLES", 200)
    monkeypatch.setattr(peaks, "ORDERS", 200)
    verdicts = []
    for seed in range(30):
        noise = spread * np.random.default_rng(seed + 500).standard_normal(N_ROWS)
        verdicts.append(judge((FLAT + noise).clip(0, 1), seed)["verdict"])
    assert verdicts.count(claims.HOLDS) <= 2


def test_the_plain_highest_row_would_have_let_noise_win():
    """What the rules are for: the highest row of the middle against the mean of the ends, on the same words."""
    won = 0
    for seed in range(30):
        rows = curve(FLAT, seed).map(lambda halves: halves.mean(1)[:, 1:])
        naive = rows.map(lambda rows: rows[:, 2:-2].max(1) - rows[:, [0, 1, -2, -1]].mean(1))
        won += claims.decide(naive, lambda rise: rise > 0)["verdict"] == claims.HOLDS
    assert won > 15


def test_the_height_of_noise_is_not_flattered():
    """The highest of many noisy rows is too high, unless it was chosen on other words."""
    fresh = np.mean([curve(FLAT, seed).map(peaks.height).estimate for seed in range(20)])
    same = np.mean([peaks.smoothed(curve(FLAT, seed).estimate.mean(0)[1:]).max() for seed in range(20)])
    assert fresh == pytest.approx(FLAT[0], abs=0.005) and same > FLAT[0] + 0.01
    assert curve(HUMP).map(peaks.height).estimate == pytest.approx(0.78, abs=0.03)


def test_a_row_counts_with_its_neighbours():
    assert peaks.smoothed(np.array([3.0, 0, 6, 0])).tolist() == [1.5, 3, 2, 3]


def slow_rise(halves: np.ndarray) -> float:
    total = 0.0
    for chosen_on, measured_on in ((0, 1), (1, 0)):
        choosing, measuring = (list(halves[half][1:]) for half in (chosen_on, measured_on))
        end = round(0.2 * len(choosing))
        middle = range(end, len(choosing) - end)

        def near(rows, row, middle=middle):
            return np.mean([rows[other] for other in middle if abs(other - row) <= 1])

        best = max(middle, key=lambda row: near(choosing, row))
        total += near(measuring, best) - max(np.mean(measuring[:end]), np.mean(measuring[-end:]))
    return total / 2


def slow_lead(earlier: np.ndarray, later: np.ndarray) -> float:
    total = 0.0
    for chosen_on, measured_on in ((0, 1), (1, 0)):

        def near(halves, half, row):
            return np.mean([halves[half][other] for other in range(1, N_ROWS) if abs(other - row) <= 1])

        first, second = (
            max(range(1, N_ROWS), key=lambda row: near(halves, chosen_on, row)) for halves in (earlier, later)
        )
        fall = near(earlier, measured_on, first) - near(earlier, measured_on, second)
        rise = near(later, measured_on, second) - near(later, measured_on, first)
        total += (1 if second > first else -1) * max(0, min(fall, rise))
    return total / 2


def test_statistics_are_those_of_slow_loops():
    made = np.random.default_rng(0).random((40, 2, N_ROWS))
    assert peaks.middle_rise(made).tolist() == pytest.approx([slow_rise(halves) for halves in made])
    pairs = list(zip(made[:20], made[20:], strict=True))
    assert peaks.lead(made[:20], made[20:]).tolist() == pytest.approx([slow_lead(*pair) for pair in pairs])


def test_the_share_of_orders_is_that_of_all_orders():
    """Of 120 orders of five rows past the embedding, counted one by one."""
    halves = np.array([[9, 0.1, 0.6, 0.9, 0.5, 0.2], [9, 0.2, 0.5, 0.8, 0.7, 0.1]])
    given = Resampled(halves, halves[None])
    own = peaks.middle_rise(halves[None])[0]
    every = [peaks.middle_rise(halves[None][..., [0, *rows]])[0] >= own for rows in permutations(range(1, 6))]
    assert peaks.share_of_orders(peaks.middle_rise, [given]) == pytest.approx(np.mean(every), abs=0.03)


def test_too_few_layers_or_a_reason_forbid_a_verdict():
    few = Resampled(np.ones((2, 5)), np.ones((3, 2, 5)))
    judged = peaks.decide(peaks.middle_rise, [few])
    assert judged["verdict"] == claims.UNDECIDED and judged["reason"].startswith("needs 5 layers, the model has 4")
    told = peaks.decide(peaks.middle_rise, [curve(HUMP)], "it is so")
    assert (told["verdict"], told["reason"]) == (claims.UNDECIDED, "it is so")


def test_the_depth_of_a_peak_is_its_row_over_the_last():
    halves = np.zeros((1, 2, N_ROWS))
    halves[0, 0, 3:6], halves[0, 1, 7:10], halves[..., 0] = 1, 1, 5
    assert peaks.depth_of_peak(halves)[0] == pytest.approx((4 + 8) / 2 / (N_ROWS - 1))
