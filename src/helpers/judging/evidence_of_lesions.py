"""Statistics of dropped and swapped layers (paper: section 3)."""

from functools import partial

import numpy as np
import pandas as pd

from helpers.judging.evidence_of_curves import over_middle, past_first
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, combine


def middle_relative_accuracy(lesions: Measures, intervention: str) -> Resampled:
    """Share of predictions that are those of the intact model, mean over layers at depth 0.2 to 0.8."""
    return over_middle(lesions.curve("relative_accuracy", intervention), lesions.depth(intervention))


def middle_accuracy_ratio(lesions: Measures, intervention: str) -> Resampled:
    """Correct lesioned / correct intact, on the labels, mean over layers at depth 0.2 to 0.8."""
    right, intact = (lesions.curve(column, intervention) for column in ("accuracy", "accuracy_intact"))
    return over_middle(right / intact, lesions.depth(intervention))


def middle_kl_over_worse_end(lesions: Measures, intervention: str) -> Resampled:
    """Mean KL at depth 0.2 to 0.8 / KL of the first or last lesion, whichever is larger."""
    kl = lesions.curve("kl_nats", intervention)
    return over_middle(kl, lesions.depth(intervention)) / combine(np.maximum, kl.at(0), kl.at(-1))


def first_kl_over_worst_other(lesions: Measures) -> Resampled:
    """KL without the first layer / the largest KL without another one."""
    kl = lesions.curve("kl_nats", "drop")
    return kl.at(0) / kl.map(lambda layers: layers[:, 1:].max(1)) if len(kl.estimate) > 1 else UNKNOWN


def last_kl_over_middle(lesions: Measures) -> Resampled:
    """KL without the last layer / mean KL without one at depth 0.2 to 0.8."""
    kl = lesions.curve("kl_nats", "drop")
    return kl.at(-1) / over_middle(kl, lesions.depth("drop"))


def entropy_without_first_layer(lesions: Measures) -> Resampled:
    """How many bits less certain the predictions are without the first layer."""
    return lesions.curve("entropy_change_bits", "drop").at(0)


def last_swap_kl_over_first(lesions: Measures) -> Resampled:
    """KL of swapping the last two layers / that of swapping the first two."""
    kl = lesions.curve("kl_nats", "swap")
    return kl.at(-1) / kl.at(0) if len(kl.estimate) > 1 else UNKNOWN


def swap_kl_over_drop_kl(lesions: Measures) -> Resampled:
    """KL of swapping layer l with the next / KL of dropping it, geometric mean over layers at depth 0.2 to 0.8."""
    drop, swap = (lesions.curve("kl_nats", intervention) for intervention in ("drop", "swap"))
    ratio = swap / drop.map(lambda layers: layers[:, : len(swap.estimate)])
    with np.errstate(divide="ignore", invalid="ignore"):
        return over_middle(ratio.map(np.log), lesions.depth("swap")).map(np.exp)


def loss_change_of_most_useless_layer(lesions: Measures) -> Resampled:
    """Loss change without the layer past the first that can best be spared: chosen on half the documents, measured on
    the rest."""
    choosing, measuring = (half.map(past_first) for half in lesions.halves("loss_change_nats", "drop"))
    if not choosing.estimate.size or not choosing.is_finite:
        return UNKNOWN
    chosen = choosing.map(lambda layers: layers.argmin(1))
    return combine(lambda layers, best: np.take_along_axis(layers, best[:, None], 1)[:, 0], measuring, chosen)


def rank_correlation_with_layers(lesions: list[Measures]) -> Resampled:
    """Spearman correlation over models between layers and how little is lost for the share of them that is dropped.

    One of n layers is a smaller part of a deeper model, so what changes, 1 - ``middle_relative_accuracy``, counts n
    times.
    """
    n_layers = [len(of_model.depth("drop")) for of_model in lesions]
    ranks = pd.Series(n_layers).rank()
    kept = [
        middle_relative_accuracy(of_model, "drop").map(partial(_loss_times, n))
        for of_model, n in zip(lesions, n_layers, strict=True)
    ]
    if not all(of_model.is_finite for of_model in kept) or ranks.nunique() == 1:
        return UNKNOWN
    return combine(lambda *of_models: pd.DataFrame(of_models).rank().corrwith(ranks).to_numpy(), *kept)


def lead_over_commonest(lesions: Measures) -> Resampled:
    """How much more often the intact model is right than always guessing the commonest token."""
    return lesions.curve("accuracy_intact", "drop").at(0) - lesions.curve("accuracy_commonest", "drop").at(0)


def _loss_times(n_layers: int, share: np.ndarray) -> np.ndarray:
    """What is lost, counted ``n_layers`` times, as a negative number."""
    return n_layers * (share - 1)
