"""Ways to make every lesion, each returning the mean KL by (layer, intervention), and the floor below them all.

All read the same tokens, and the batched ones in the same batches, with the same attention kernels.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

from helpers import blocks, lesion, metrics
from helpers.engine import batches, fused, readout

KLs = dict[tuple[int, str], float]


def sweep(bridge: TransformerBridge, tokens: Tensor) -> KLs:
    """This project: one walk through the layers for all lesions."""
    return lesion.sweep(bridge, tokens).groupby(["layer", "intervention"])["kl_nats"].mean().to_dict()


def floor(bridge: TransformerBridge, tokens: Tensor) -> None:
    """The sweep's n_layers**2 block calls and 2 n_layers unembeddings at its own sizes, and nothing else."""
    inputs = blocks.record_inputs(bridge, tokens)
    residual = blocks.embed(bridge, tokens)
    n_layers = bridge.cfg.n_layers
    streams = residual.repeat(n_layers, 1, 1)  # n_layers rows through n_layers blocks
    for layer in range(n_layers):
        for rows in calls(bridge, streams):
            blocks.run_block(bridge, layer, rows, inputs)
    unembedding = readout.Unembedding.of(bridge)
    hidden = readout.predicted_positions(bridge.ln_final(residual)).flatten(0, 1).repeat(2 * n_layers, 1)
    logits = hidden.new_empty(readout.CHUNK_ROWS, unembedding.weight.shape[1])
    for chunk in hidden.split(readout.CHUNK_ROWS):
        torch.addmm(unembedding.bias, chunk, unembedding.weight, out=logits[: len(chunk)])


def forward(bridge: TransformerBridge, tokens: Tensor) -> None:
    """The intact model once."""
    for rows in calls(bridge, tokens):
        bridge(rows, use_cache=False)


def forward_at_cap(bridge: TransformerBridge, tokens: Tensor) -> None:
    """The intact model once, on as many rows as one call takes: what its peak memory is to be compared with."""
    n_rows = batches.rows_per_call(bridge, tokens.shape[1])
    bridge(tokens[:1].repeat(n_rows, 1), use_cache=False)


def plain_loop(bridge: TransformerBridge, tokens: Tensor) -> KLs:
    """One hooked run per drop, one run with exchanged blocks per swap, the intact run once per batch."""
    n_layers, sums, inputs = bridge.cfg.n_layers, {}, blocks.record_inputs(bridge, tokens)
    for rows in calls(bridge, tokens):
        intact = bridge(rows, use_cache=False)
        for layer in range(n_layers):
            logits = bridge.run_with_hooks(rows, fwd_hooks=lesion.drop_hooks(layer), use_cache=False)
            _add(sums, (layer, "drop"), intact, logits)
        for layer in range(n_layers - 1):
            order = [*range(layer), layer + 1, layer, *range(layer + 2, n_layers)]
            _add(sums, (layer, "swap"), intact, blocks.run_order(bridge, rows, order, inputs))
    return {key: total / len(tokens) for key, total in sums.items()}


def authors_manner(folder: str, tokens: Tensor) -> KLs:
    """One text at a time, the intact run repeated for every layer, swaps by weights in a reloaded model."""
    sums: KLs = {}
    bridge = _reload(folder)
    for layer in range(bridge.cfg.n_layers):
        for text in tokens.split(1):
            intact = bridge(text, use_cache=False)
            logits = bridge.run_with_hooks(text, fwd_hooks=lesion.drop_hooks(layer), use_cache=False)
            _add(sums, (layer, "drop"), intact, logits)
    for layer in range(bridge.cfg.n_layers - 1):
        swapped = _reload(folder)
        pairs = zip(swapped.blocks[layer].parameters(), swapped.blocks[layer + 1].parameters(), strict=True)
        for first, second in pairs:
            first.data, second.data = second.data, first.data
        for text in tokens.split(1):
            _add(sums, (layer, "swap"), bridge(text, use_cache=False), swapped(text, use_cache=False))
    return {key: total / len(tokens) for key, total in sums.items()}


def nnsight_skips(folder: str, layers: str, tokens: Tensor, bridge: TransformerBridge) -> KLs:
    """Every drop, but no swap, by nnsight's layer skipping on the Hugging Face model."""
    from nnsight import NNsight

    model = NNsight(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())
    sums: KLs = {}
    for rows in calls(bridge, tokens):
        with model.trace(rows, use_cache=False):
            intact = model.output.logits.save()
        for layer in range(bridge.cfg.n_layers):
            with model.trace(rows, use_cache=False):
                block = model.get(f"{layers}.{layer}")
                block.skip(block.input)
                logits = model.output.logits.save()
            _add(sums, (layer, "drop"), intact, logits)
    return {key: total / len(tokens) for key, total in sums.items()}


def calls(bridge: TransformerBridge, rows: Tensor) -> Iterator[Tensor]:
    """As many rows at a time as the sweep gives to one block call."""
    yield from rows.split(batches.rows_per_call(bridge, rows.shape[1]))


def _reload(folder: str) -> TransformerBridge:
    bridge = TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float32)
    bridge.enable_compatibility_mode(disable_warnings=True)
    fused.install(bridge)
    return bridge.eval()


def _add(sums: KLs, key: tuple[int, str], intact: Tensor, lesioned: Tensor) -> None:
    kl = metrics.kl_divergence(readout.predicted_positions(intact), readout.predicted_positions(lesioned))
    sums[key] = sums.get(key, 0.0) + kl.mean(-1).sum().item()
