"""What the word probes say of the paper's second stage, as verdicts.

- ``word_in_context``: the paper's claim (5.2, figures 7a and 18). The accuracy of the word-sense probe rises, peaks at
  intermediate layers and falls again; meanwhile the lens's entropy is still high.
- ``order``: our question. Does the part of speech peak before the sense?

A peak is judged as in ``peaks``. Nothing is said about a task that is at its best, in a row chosen on other words, not
done better than chance by more than ``peaks.SMALLEST``.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from helpers.beyond import peaks
from helpers.beyond.feature_engineering import in_halves, resampled_accuracy, resampled_auc, resampled_entropy
from helpers.beyond.word_tasks import PART_OF_SPEECH, WORD_SENSE
from helpers.judging import claims
from helpers.stats import Resampled, combine, divide

PEAK, STILL_HIGH = "word_sense_peaks_in_the_middle", "entropy_still_high_at_the_peak"
STILL = 0.5  # of the entropy's fall
SENSE_BY = {"logistic": resampled_accuracy, "cosine": resampled_auc}


def word_in_context(predictions: pd.DataFrame, entropy: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The paper's two claims about word sense, one row each, and the ``depth`` of the peak with its interval.

    ``statistic``: how much higher the accuracy in the middle three fifths is at its best than the higher of the two
    outer fifths, above ``peaks.SMALLEST``; and the share of the entropy's fall, from its highest row to its lowest,
    that is still to come at the peak, above 1/2. ``entropy`` is that of ``word_uses.entropy``.
    """
    answers = _of(predictions, WORD_SENSE, "logistic")
    curve = in_halves(resampled_accuracy, answers, seed)
    reason = _not_read(answers, curve)
    peak = peaks.decide(peaks.middle_rise, [curve], reason, seed)
    depth = curve.map(peaks.depth_of_peak)
    left = combine(entropy_left, resampled_entropy(entropy, seed), depth)
    reason = "" if peak["verdict"] == claims.HOLDS else "there is no peak in the middle to read the entropy at"
    still_high = claims.decide(left, lambda share: share > STILL, reason)
    place = {name: float(value) for name, value in depth.columns("depth").items()}
    judged = {PEAK: peak, STILL_HIGH: still_high}
    return pd.DataFrame([{"claim": claim} | of_claim | place for claim, of_claim in judged.items()])


def order(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Does the part of speech peak before the sense, read by the probe (``logistic``) or by the ``cosine``?

    One row per ``sense_by``: the depths of both peaks, and what ``peaks.decide`` says of ``peaks.lead``.
    """
    tags = _of(predictions, PART_OF_SPEECH, "logistic")
    earlier = in_halves(resampled_accuracy, tags, seed)
    rows: list[dict[str, Any]] = []
    for sense_by, measure in SENSE_BY.items():
        senses = _of(predictions, WORD_SENSE, sense_by)
        if senses.empty:  # too few uses of a word for a mean
            continue
        later = in_halves(measure, senses, seed)
        absent = [_not_read(tags, earlier), _not_read(senses, later)]
        places = {
            task: float(curve.map(peaks.depth_of_peak).estimate)
            for task, curve in ((PART_OF_SPEECH, earlier), (WORD_SENSE, later))
        }
        judged = peaks.decide(peaks.lead, [earlier, later], " and ".join(filter(None, absent)), seed)
        rows.append({"sense_by": sense_by} | places | judged)
    return pd.DataFrame(rows)


def entropy_left(entropy: Float[np.ndarray, "n row"], depth: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """How far the entropy still falls behind a depth, between the two nearest rows, as a share of its range; row 0
    left out. A low that lies before the depth is not to come any more."""
    last = entropy.shape[1] - 1
    places = np.arange(last + 1) / last
    here = np.array([np.interp(at, places, rows) for at, rows in zip(depth, entropy, strict=True)])
    ahead = np.where(places >= depth[:, None], entropy, here[:, None]).min(1)
    low, high = entropy[:, 1:].min(1), entropy[:, 1:].max(1)
    return divide(here - np.minimum(here, ahead), high - low)


def _of(predictions: pd.DataFrame, task: str, probe: str) -> pd.DataFrame:
    return predictions[(predictions["task"] == task) & (predictions["probe"] == probe)]


def _not_read(answers: pd.DataFrame, halves: Resampled) -> str:
    """That the task is at its best not done better than by chance, or nothing if it is."""
    enough = answers["chance"].max() + peaks.SMALLEST
    better = halves.map(peaks.height).share(lambda height: height > enough) >= claims.CERTAIN
    return "" if better else f"{answers['task'].iloc[0]} is not told by more than {peaks.SMALLEST} above chance"
