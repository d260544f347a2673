"""What the lesion sweep costs: against its own arithmetic, and against one model run per lesion.

    python benchmarks/sweep.py [--model NAME ...] [--sequences N] [--repeats N]

For each model, in turn within one process: an intact forward pass; the sweep; the floor, which is the
sweep's n_layers**2 block calls and 2 n_layers unembeddings alone; and the plain loop, one hooked run per
drop, one reordered run per swap, metrics from log-softmaxes. Sweep and loop must give the same KL.
Medians over repeats, as seconds and as ratios to the sweep.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from helpers import batches, blocks, corpus, lesion, metrics, models, readout


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the lesion sweep.")
    parser.add_argument("--model", action="append", help="alias, Hub id or folder (default: pocket)")
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"{'model':<24}{'what':<16}{'seconds':>9}{'/ sweep':>9}")
    for model in options.model or ["pocket"]:
        bridge = models.load(model)
        tokens = corpus.windows(bridge, tokens=options.sequences * options.context, context=options.context)
        for what, seconds, ratio in measure(bridge, tokens, options.repeats):
            print(f"{model[-22:]:<24}{what:<16}{seconds:>9.2f}{ratio:>9.2f}")


def measure(bridge, tokens: Tensor, repeats: int) -> list[tuple[str, float, float]]:
    """(contender, median seconds, median ratio to the sweep), the contenders in turn within each repeat."""
    loop = plain_loop(bridge, tokens)
    swept = lesion.sweep(bridge, tokens).groupby(["layer", "intervention"])["kl_nats"].mean()
    worst = max(abs(swept[key] - kl) for key, kl in loop.items())
    if not worst < 1e-4:
        raise SystemExit(f"sweep and loop disagree: KL off by {worst:.2g}")
    contenders: dict[str, Callable[[], object]] = {
        "sweep": lambda: lesion.sweep(bridge, tokens),
        "forward": lambda: [bridge(rows, use_cache=False) for rows in _calls(bridge, tokens)],
        "floor": lambda: floor(bridge, tokens),
        "plain loop": lambda: plain_loop(bridge, tokens),
    }
    times = {what: [] for what in contenders}
    for _ in range(repeats):
        for what, run in contenders.items():
            start = time.perf_counter()
            run()
            times[what].append(time.perf_counter() - start)
    return [(what, statistics.median(own), _ratio(own, times["sweep"])) for what, own in times.items()]


def floor(bridge, tokens: Tensor) -> None:
    """The sweep's block calls and unembeddings at its own chunk sizes, and nothing else."""
    inputs = blocks.record_inputs(bridge, tokens)
    residual = blocks.embed(bridge, tokens)
    n_layers = bridge.cfg.n_layers
    streams = residual.repeat(n_layers, 1, 1)  # n_layers rows through n_layers blocks
    for layer in range(n_layers):
        for rows in _calls(bridge, streams):
            blocks.run_block(bridge, layer, rows, inputs)
    unembedding = readout.Unembedding.of(bridge)
    hidden = readout.predicted_positions(bridge.ln_final(residual)).flatten(0, 1).repeat(2 * n_layers, 1)
    logits = hidden.new_empty(readout.CHUNK_ROWS, unembedding.weight.shape[1])
    for chunk in hidden.split(readout.CHUNK_ROWS):
        torch.addmm(unembedding.bias, chunk, unembedding.weight, out=logits[: len(chunk)])


def plain_loop(bridge, tokens: Tensor) -> dict[tuple[int, str], float]:
    """Mean KL of every lesion, each from a whole run of the model."""
    n_layers, sums, inputs = bridge.cfg.n_layers, {}, blocks.record_inputs(bridge, tokens)
    for rows in _calls(bridge, tokens):
        intact = bridge(rows, use_cache=False)
        for layer in range(n_layers):
            logits = bridge.run_with_hooks(rows, fwd_hooks=lesion.drop_hooks(layer), use_cache=False)
            _add(sums, (layer, "drop"), intact, logits)
        for layer in range(n_layers - 1):
            order = list(range(n_layers))
            order[layer : layer + 2] = [layer + 1, layer]
            _add(sums, (layer, "swap"), intact, blocks.run_order(bridge, rows, order, inputs))
    return {key: total / len(tokens) for key, total in sums.items()}


def _add(sums: dict, key: tuple[int, str], intact: Tensor, lesioned: Tensor) -> None:
    kl = metrics.kl_divergence(readout.predicted_positions(intact), readout.predicted_positions(lesioned))
    sums[key] = sums.get(key, 0.0) + kl.mean(-1).sum().item()


def _calls(bridge, rows: Tensor):
    return rows.split(batches.rows_per_call(bridge, rows.shape[1]))


def _ratio(own: list[float], sweep: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(own, sweep, strict=True))


if __name__ == "__main__":
    main()
