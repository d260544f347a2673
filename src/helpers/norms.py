"""What each MLP and attention layer adds to the residual stream: L2 norms per token.

The paper's is the norm of the MLP's output (5.4, figures 12b and 20), a sign of stage 4, residual calibration.

Norms are of the model as loaded: where it uses LayerNorm, everything written to the residual stream is
centred. BOS, whose residual is huge in many models, is left out.
"""

from functools import partial

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.engine.batches import over_sequences
from helpers.errors import InputError

SLUG = "mlp_norm"
PARTS = {"residual": "hook_in", "attention": "hook_attn_out", "mlp": "hook_mlp_out", "after": "hook_out"}
SUM_TOLERANCE = 1e-3


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    batch_size: int | str = "auto",
    only: range | None = None,
) -> pd.DataFrame:
    """The measures of ``norms`` of every layer: one row per sequence and layer.

    ``only`` some of the sequences are measured where a range of them is given. Raises ``InputError`` for an
    architecture whose blocks add anything but attention and MLP.
    """

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        frames: list[pd.DataFrame] = []
        parts: dict[str, Float[Tensor, "batch pos d_model"]] = {}

        def reduce(activation, hook, part, layer):
            parts[part] = activation[:, 1:]
            if part == "after":
                _check_sum(bridge, layer, parts)
                frames.append(stats.rows(first, norms(parts), layer=layer))

        hooks = [
            (f"blocks.{layer}.{name}", partial(reduce, part=part, layer=layer))
            for layer in range(bridge.cfg.n_layers)
            for part, name in PARTS.items()
        ]
        bridge.run_with_hooks(batch, fwd_hooks=hooks, return_type=None, use_cache=False)
        return frames

    return over_sequences(bridge, tokens, measure, batch_size, only=only)


def norms(parts: dict[str, Float[Tensor, "batch pos d_model"]]) -> dict[str, Float[Tensor, "batch"]]:
    """Mean L2 norms over positions of what MLP and attention write, of the residual stream that enters
    the block, and the means of the per-token ratios to it."""
    mlp, attention, residual = (parts[name].float().norm(dim=-1) for name in ("mlp", "attention", "residual"))
    return {
        "mlp_norm": mlp.mean(-1),
        "attention_norm": attention.mean(-1),
        "residual_norm": residual.mean(-1),
        "mlp_to_residual": (mlp / residual).mean(-1),
        "attention_to_residual": (attention / residual).mean(-1),
    }


def _check_sum(bridge: TransformerBridge, layer: int, parts: dict[str, Float[Tensor, "batch pos d_model"]]) -> None:
    """A block's output must be its input plus what attention and MLP write (seen on one sequence)."""
    residual, attention, mlp, after = (parts[part][0].float() for part in PARTS)
    error = (residual + attention + mlp - after).norm() / after.norm()
    tolerance = max(SUM_TOLERANCE, 4 * torch.finfo(parts["after"].dtype).eps)
    if not error <= tolerance:
        raise InputError(
            f"block {layer} of this {bridge.cfg.architecture} adds more than attention and MLP outputs to the "
            f"residual stream (relative difference {error:.2g}): norms of its parts would mislead, leave mlp_norm out"
        )
