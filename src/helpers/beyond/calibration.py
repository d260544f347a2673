"""Calibration of the logit lens: is a row that is 70 % sure right seven times in ten? Ours (after Joshi, 2511.00280).

*Confidence* is the probability of the best guess. The positions of a row are sorted by it and cut into ``BINS`` of
equal size. The *expected calibration error* is the mean over positions of |mean confidence - share correct| of their
bin, between 0 and 1. Its sign is lost in it, so there is also *overconfidence*, mean confidence - share correct:
above 0 too sure, below 0 not sure enough. A perfectly calibrated row still has an error above 0, since a bin holds
few positions: ``error_if_calibrated`` is what it would have if each best guess were right as often as its confidence
says.

A row that says nothing, and knows it, has no error: calibration is not knowledge.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.engine import readout, streams
from helpers.engine.batches import over_sequences
from helpers.judging.measures import Measures
from helpers.stats import Resampled, combine

WHAT = "calibration"
BINS = 10
DRAWS = 50
GAPS = [f"gap_{number}" for number in range(BINS)]


def sweep(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto", seed: int = 0
) -> pd.DataFrame:
    """Every row of the lens on every sequence: one row per sequence and ``layer`` 0 .. n_layers.

    Columns: ``confidence``, ``accuracy`` and ``overconfidence``, means over positions 1 .. pos-2; ``gap_0`` to
    ``gap_9``, what each bin adds to the overconfidence; and ``error_if_calibrated``, the same for all sequences of a
    row.
    """
    unembedding = readout.Unembedding.of(bridge)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        labels = readout.labels(batch)
        sequence = torch.arange(first, first + len(batch)).repeat_interleave(labels.shape[1]).numpy()
        frames = []

        def read(layer: int, residual: Float[Tensor, "batch pos d_model"]) -> None:
            row = unembedding.read(streams.final_hidden(bridge, residual), labels)
            values = {"confidence": row.top1_probability, "correct": row.correct}
            columns = {name: value.flatten().double().cpu().numpy() for name, value in values.items()}
            frames.append(pd.DataFrame({"sequence": sequence, "layer": layer, **columns}))

        streams.visit_rows(bridge, batch, read)
        return frames

    places = over_sequences(bridge, tokens, measure, batch_size)
    return pd.concat([by_sequence(row, seed).assign(layer=layer) for layer, row in places.groupby("layer")])


def by_sequence(places: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The columns of ``sweep`` from the ``sequence``, ``confidence`` and ``correct`` of every position of one row."""
    confidence, correct = (places[name].to_numpy() for name in ("confidence", "correct"))
    bins = equal_mass_bins(confidence)
    n_each = places.groupby("sequence").size()
    gaps = places.assign(gap=confidence - correct, bin=bins).pivot_table("gap", "sequence", "bin", "sum", fill_value=0)
    gaps = gaps.reindex(columns=range(BINS), fill_value=0).div(n_each, axis=0).set_axis(GAPS, axis=1)
    means = places.groupby("sequence")[["confidence", "correct"]].mean().rename(columns={"correct": "accuracy"})
    means["overconfidence"] = means["confidence"] - means["accuracy"]
    drawn = np.random.default_rng(seed).uniform(size=(DRAWS, len(confidence))) < confidence
    chance = np.mean([calibration_error(confidence, one, bins) for one in drawn])
    return means.join(gaps).assign(error_if_calibrated=chance).reset_index()


def equal_mass_bins(confidence: Float[np.ndarray, "place"]) -> Int[np.ndarray, "place"]:
    """The bin of every position, from 0: as many positions in each as can be, of equal ones in their order."""
    ranks = np.empty(len(confidence), dtype=int)
    ranks[np.argsort(confidence, kind="stable")] = np.arange(len(confidence))
    return ranks * BINS // len(confidence)


def calibration_error(
    confidence: Float[np.ndarray, "place"], correct: Shaped[np.ndarray, "place"], bins: Int[np.ndarray, "place"]
) -> float:
    """Mean over positions of |mean confidence - share correct| of their bin."""
    return float(np.abs(np.bincount(bins, confidence - correct)).sum() / len(confidence))


def errors(rows: pd.DataFrame, seed: int = 0) -> Resampled:
    """The expected calibration error of every row of the lens; bins stay as they are in all resamples."""
    measures = Measures(rows, seed)
    return combine(lambda *gaps: np.abs(gaps).sum(0), *(measures.curve(gap) for gap in GAPS))


def summarise(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row per row of the lens: ``calibration_error`` and the means of ``sweep``'s columns, with intervals."""
    table = stats.summarise(rows.drop(columns=[*GAPS, "error_if_calibrated"]), seed=seed)
    chance = rows.groupby("layer")["error_if_calibrated"].first().to_numpy()
    return table.assign(**errors(rows, seed).columns("calibration_error"), error_if_calibrated=chance)
