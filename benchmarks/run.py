"""What the lesion sweep costs: against its own arithmetic, and against other ways to make every lesion.

    python benchmarks/run.py [--shape NAME ...] [--repeats N] [--no-growth]
    python benchmarks/growth.py

For models of several shapes with random weights, medians over repeats, all contenders in turn within one
process, each checked to give the same KL; nnsight takes part where it is installed. Writes results.csv
(rows of the shapes that are measured; others stay), growth.csv and the figure growth beside this file. Takes an
hour, on a machine that does nothing else.
"""

import argparse
import importlib.util
import tempfile
from pathlib import Path

import contenders
import growth
import meter
import pandas as pd
import shapes
import torch

from helpers import attention, lens, models, neurons, norms
from helpers.engine import architectures, arithmetic, readout
from helpers.engine.arithmetic import Sizes

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
SEQUENCES = {"gpt2": 4, "pythia-410m": 2, "48-layers": 2, "12-layers": 16}
CONTEXT = 256
AUTHORS_MANNER = ("gpt2", "12-layers")  # it would take hours for the others
SAME_KL = 1e-4


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description="Time the lesion sweep and the other experiments.")
    parser.add_argument("--shape", action="append", choices=[*shapes.CONFIGS])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-growth", action="store_true", help="leave out how time grows with layers and tokens")
    options = parser.parse_args()
    for shape in options.shape or shapes.CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            table = measure(shape, shapes.checkpoint(shapes.CONFIGS[shape](), Path(folder)), options.repeats)
        print(table.to_string(index=False, na_rep="", float_format="{:.2f}".format), flush=True)
        record(shape, table)
    if not options.no_growth:
        growth.run(HERE, options.repeats)


def measure(shape: str, folder: str, repeats: int) -> pd.DataFrame:
    """One row per contender: median seconds, ratio to the sweep, peak memory beyond the weights."""
    bridge = models.load(folder)
    tokens = shapes.tokens(SEQUENCES[shape], CONTEXT, bridge.cfg.d_vocab)
    layers = bridge.blocks[0].name.rpartition(".")[0]
    ways = {
        "sweep": lambda: contenders.sweep(bridge, tokens),
        "its blocks and unembeddings": lambda: contenders.floor(bridge, tokens),
        "plain TransformerLens loop": lambda: contenders.plain_loop(bridge, tokens),
        "one forward pass": lambda: contenders.forward(bridge, tokens),
        "one forward pass of a full call": lambda: contenders.forward_at_cap(bridge, tokens),
        "local attention": lambda: attention.sweep(bridge, tokens),
        "logit lens": lambda: lens.sweep(bridge, tokens),
        "MLP norm": lambda: norms.sweep(bridge, tokens),
        "neurons (weights only)": lambda: neurons.moments(bridge),
    }
    if shape in AUTHORS_MANNER:
        ways["authors' manner"] = lambda: contenders.authors_manner(folder, tokens)
    if importlib.util.find_spec("nnsight"):
        ways["nnsight skips (drops only)"] = lambda: contenders.nnsight_skips(folder, layers, tokens, bridge)
    contenders.forward(bridge, tokens[:1, :16])  # wake up
    measured = meter.in_turn(ways, repeats)
    check_same_kl(measured)
    rows = [
        {
            "shape": shape,
            "what": what,
            "seconds": own.median,
            "ratio to sweep": own.ratio_to(measured["sweep"]),
            "ratio to forward": own.ratio_to(measured["one forward pass"]),
            "peak GB": own.peak_gb,
            "peak / full call": own.peak_gb / (measured["one forward pass of a full call"].peak_gb or float("nan")),
        }
        for what, own in measured.items()
    ]
    sizes = Sizes.of(architectures.skeleton(architectures.config_of(folder)))
    operations = arithmetic.walk(sizes, CONTEXT) * tokens.numel()
    return pd.DataFrame([*rows, *rates(shape, bridge, operations, measured["sweep"].median)])


def record(shape: str, table: pd.DataFrame) -> None:
    """Put the shape's rows into results.csv in place of those of an earlier run."""
    if RESULTS.exists():
        earlier = pd.read_csv(RESULTS)
        table = pd.concat([earlier[earlier["shape"] != shape], table])
    table.to_csv(RESULTS, index=False, float_format="%.4g")


def check_same_kl(measured: dict[str, meter.Measured]) -> None:
    """Every way to make the lesions must give the sweep's KL."""
    expected = measured["sweep"].result
    for what, own in measured.items():
        if isinstance(own.result, dict):
            worst = max(abs(expected[key] - kl) for key, kl in own.result.items())
            if not worst < SAME_KL:
                raise SystemExit(f"sweep and {what} disagree: KL off by {worst:.2g}")


def rates(shape: str, bridge, operations: float, sweep_seconds: float) -> list[dict]:
    """The sweep's arithmetic at this machine's rate of matrix products, and the unembedding's share of that rate."""
    rate = meter.matrix_rate()
    seconds = operations / rate
    unembedding = readout.Unembedding.of(bridge)
    hidden = torch.randn(len(unembedding._buffer), bridge.cfg.d_model)
    own = meter.product_rate(lambda: unembedding._times_weight(hidden), 2 * hidden.numel() * bridge.cfg.d_vocab)
    return [
        {
            "shape": shape,
            "what": "the sweep's arithmetic",
            "seconds": seconds,
            "ratio to sweep": seconds / sweep_seconds,
        },
        {"shape": shape, "what": "square products [GFLOP/s]", "rate": rate / 1e9},
        {"shape": shape, "what": "unembedding [GFLOP/s]", "rate": own / 1e9, "share of rate": own / rate},
    ]


if __name__ == "__main__":
    main()
