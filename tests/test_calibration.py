"""Calibration error against a slow count, and of rows planted to be calibrated, too sure, or not sure enough."""

import numpy as np
import pandas as pd
import pytest
from checkpoints import KINDS

from helpers.beyond import calibration
from reference import RawModel, familiar_tokens, predicting


def slow_error(places: list[tuple[float, bool]]) -> float:
    """Position by position, sorted by confidence, and every bin on its own."""
    in_order = sorted(places, key=lambda place: place[0])
    total = 0.0
    for number in range(10):
        chosen = [place for rank, place in enumerate(in_order) if rank * 10 // len(in_order) == number]
        if chosen:
            confidence, correct = (sum(values) / len(chosen) for values in zip(*chosen, strict=True))
            total += len(chosen) / len(in_order) * abs(confidence - correct)
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_those_counted_by_hand_on_the_raw_model(kind, bridges, checkpoints):
    raw = RawModel(checkpoints[kind])
    tokens = familiar_tokens(raw, n_sequences=3, context=9)
    rows = calibration.sweep(bridges[kind], tokens, batch_size=2)
    table = calibration.summarise(rows).set_index("layer")
    assert table.index.tolist() == [0, 1, 2, 3, 4]
    residuals = [raw.residuals(sequence) for sequence in tokens]
    for layer, row in table.iterrows():
        places = []
        for sequence, streams in zip(tokens, residuals, strict=True):
            guess = raw.head(raw.norm(streams[layer])).softmax(-1)
            places += [
                (float(guess[t].max()), bool(guess[t].argmax() == sequence[t + 1])) for t in predicting(sequence)
            ]
        confidence, accuracy = (np.mean(values) for values in zip(*places, strict=True))
        assert row["calibration_error"] == pytest.approx(slow_error(places), abs=1e-4)
        assert row["overconfidence"] == pytest.approx(confidence - accuracy, abs=1e-4)
        assert row["confidence"] == pytest.approx(confidence, abs=1e-4)
        assert row["accuracy"] == pytest.approx(accuracy)
    assert table["accuracy"].max() > 0.1


def planted(shift: float, n_sequences: int = 20, each: int = 200) -> pd.DataFrame:
    """Guesses that are right as often as their confidence says, less ``shift``."""
    generator = np.random.default_rng(7)
    confidence = generator.uniform(0.3, 0.7, n_sequences * each)
    correct = (generator.uniform(size=len(confidence)) < confidence - shift).astype(float)
    sequence = np.repeat(range(n_sequences), each)
    return pd.DataFrame({"sequence": sequence, "confidence": confidence, "correct": correct})


@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.2])
def test_too_sure_not_sure_enough_and_calibrated_are_told_apart(shift):
    (row,) = calibration.summarise(calibration.by_sequence(planted(shift)).assign(layer=0)).to_dict("records")
    assert row["overconfidence"] == pytest.approx(shift, abs=0.02)
    assert (row["overconfidence_low"] > 0, row["overconfidence_high"] < 0) == (shift > 0, shift < 0)
    if shift:
        assert row["calibration_error"] == pytest.approx(0.2, abs=0.02)
        assert row["calibration_error_low"] > 5 * row["error_if_calibrated"]
    else:
        assert row["calibration_error"] < 2 * row["error_if_calibrated"] < 0.05


def test_errors_of_both_signs_do_not_cancel():
    """Sure guesses are always wrong, unsure ones always right: right on average, and never calibrated."""
    confidence = np.array([0.25, 0.75] * 100)
    places = pd.DataFrame({"sequence": 0, "confidence": confidence, "correct": (confidence < 0.5).astype(float)})
    (row,) = calibration.summarise(calibration.by_sequence(places).assign(layer=0)).to_dict("records")
    assert row["overconfidence"] == pytest.approx(0)
    assert row["calibration_error"] == pytest.approx(0.75)


def test_a_row_that_knows_nothing_and_says_so_has_no_error():
    places = pd.DataFrame({"sequence": 0, "confidence": np.full(300, 1e-4), "correct": np.zeros(300)})
    (row,) = calibration.summarise(calibration.by_sequence(places).assign(layer=0)).to_dict("records")
    assert row["calibration_error"] == pytest.approx(1e-4)


@pytest.mark.parametrize("n_places", [1, 7, 10, 23, 1000])
def test_bins_have_equal_mass_and_rise_with_confidence(n_places):
    confidence = np.random.default_rng(0).uniform(size=n_places)
    bins = calibration.equal_mass_bins(confidence)
    assert (np.diff(bins[np.argsort(confidence)]) >= 0).all()
    sizes = np.bincount(bins, minlength=10)
    assert sizes.max() - sizes.min() <= 1
    assert calibration.equal_mass_bins(np.ones(20)).tolist() == sorted(list(range(10)) * 2)


def test_batches_change_nothing(bridges):
    raw_tokens = [[0, *range(5 + n, 15 + n)] for n in range(5)]
    tokens = calibration.torch.tensor(raw_tokens)
    one, other = (calibration.sweep(bridges["gpt2"], tokens, size) for size in ("auto", 2))
    pd.testing.assert_frame_equal(one, other, atol=1e-5)
