"""Which neurons are ablated: the most peaked ones, and random ones that are like them in all but what they say.

The most peaked neurons are taken: kurtosis of their cosines with the vocabulary, as in ``neurons``, with
positive skew (prediction) or negative (suppression), whether or not they are above the paper's threshold.
To ablate them is ours.

Each set is compared with ten random sets of its size. For each of its neurons a random one is drawn from the
same layer: one of the twenty that are closest in output norm, mean and spread of the activation (each divided by
its standard deviation in the layer), are in neither list of most peaked neurons and not yet in the set. Where
a layer has none left, it is drawn from the whole model. Ablation takes away what the activation does around its
mean, so without the spread as a match a livelier neuron would look more important whatever it says. In a gated
MLP the activation is act(gate) * up.
"""

from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import neurons
from helpers.engine.batches import over_sequences
from helpers.errors import InputError

SIZES = (1, 4, 16, 64)
SKEW_SIGNS = {"prediction": 1, "suppression": -1}
RANDOM_SETS = 10
NEAREST = 20
MATCHED = ["output_norm", "mean_activation", "activation_spread"]


def profiles(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """One row per MLP neuron: ``kurtosis``, ``skew``, ``output_norm`` of what it writes, ``mean_activation`` and
    ``activation_spread``, its standard deviation.

    The last two are over all positions but BOS. Raises ``InputError`` for a model without dense MLPs.
    """
    layers = range(bridge.cfg.n_layers)
    norms = [neurons.output_weights(bridge, layer).float().norm(dim=-1).cpu() for layer in layers]

    def measure(_first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        totals = {}

        def add(activation, hook, layer):
            values = activation[:, 1:].double()
            totals[layer] = torch.stack([values.sum((0, 1)), values.square().sum((0, 1))]).cpu()

        hooks = [(f"blocks.{layer}.mlp.hook_post", partial(add, layer=layer)) for layer in layers]
        bridge.run_with_hooks(batch, fwd_hooks=hooks, return_type=None, use_cache=False)
        return [
            pd.DataFrame(torch.cat([totals[layer] for layer in layers], dim=1).T.numpy(), columns=["sum", "squares"])
        ]

    totals = over_sequences(bridge, tokens, measure, batch_size)
    table = neurons.moments(bridge).assign(output_norm=torch.cat(norms).numpy())
    means = totals.groupby(totals.index % len(table)).sum() / tokens[:, 1:].numel()
    spread = (means["squares"] - means["sum"] ** 2).clip(lower=0) ** 0.5
    return table.assign(mean_activation=means["sum"], activation_spread=spread)


def sets(profiles: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """What is ablated: one row per ``kind``, ``n_neurons``, ``set`` and neuron, with all columns of its profile.

    ``set`` 0 has the most peaked neurons of the ``kind`` (prediction, suppression), sets 1 to 10 are random ones
    matched to it. At most a quarter of the model's neurons are of a kind; larger sizes are left out. Raises
    ``InputError`` where no size is left.
    """
    most = min(max(SIZES), len(profiles) // 4)
    peaked = {
        kind: profiles[sign * profiles["skew"] > 0].nlargest(most, "kurtosis") for kind, sign in SKEW_SIGNS.items()
    }
    candidates = profiles.drop(pd.concat(peaked.values()).index)
    generator = np.random.default_rng(seed)
    frames = []
    for kind, special in peaked.items():
        for size in (size for size in SIZES if size <= len(special)):
            keys = {"kind": kind, "n_neurons": size}
            frames.append(special[:size].assign(**keys, set=0))
            for number in range(1, RANDOM_SETS + 1):
                frames.append(matched(special[:size], candidates, generator).assign(**keys, set=number))
    if not frames:
        raise InputError(
            f"a model of {len(profiles)} MLP neurons is too small to ablate some and match them with others"
        )
    return pd.concat(frames, ignore_index=True)


def matched(special: pd.DataFrame, candidates: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """As many rows of ``candidates``, all different, drawn by the rule above to go with those of ``special``."""
    layers, features = candidates["layer"].to_numpy(), candidates[MATCHED].to_numpy()
    free = np.ones(len(candidates), dtype=bool)
    drawn = []
    for layer, *wanted in special[["layer", *MATCHED]].itertuples(index=False):
        pool = np.flatnonzero(free & (layers == layer))
        pool = pool if len(pool) else np.flatnonzero(free)
        spread = features[pool].std(0)
        distance = ((features[pool] - wanted) / np.where(spread > 0, spread, 1)) ** 2
        nearest = pool[np.argsort(distance.sum(1), kind="stable")[:NEAREST]]
        drawn.append(generator.choice(nearest))
        free[drawn[-1]] = False
    return candidates.iloc[drawn]
