"""How the cost of all lesions grows with layers and with tokens: times, fitted exponents, one figure.

Writes growth.csv and the figure growth beside this file: ``python benchmarks/growth.py``, or as a part of ``run.py``.
"""

import tempfile
from pathlib import Path

import contenders
import matplotlib.pyplot as plt
import meter
import numpy as np
import pandas as pd
import shapes
import torch

from helpers import figures, models

WIDTH, VOCABULARY, CONTEXT = 256, 8192, 256
LAYERS, SEQUENCES = (4, 8, 16, 32), (1, 2, 4, 8, 16)
FIXED_LAYERS, FIXED_SEQUENCES = 12, 2
LABELS = {"sweep": "this project", "plain loop": "one model run per lesion"}


def run(folder: Path, repeats: int) -> None:
    """Measure, print the exponents, write growth.csv, growth.png and growth.svg."""
    points = [("layers", n, n, FIXED_SEQUENCES) for n in LAYERS]
    points += [("tokens", n * CONTEXT, FIXED_LAYERS, n) for n in SEQUENCES]
    table = pd.DataFrame([row for point in points for row in times(*point, repeats)])
    table.to_csv(folder / "growth.csv", index=False, float_format="%.4g")
    figure = draw(table)
    for suffix in (".png", ".svg"):
        figure.savefig(folder / f"growth{suffix}")


def times(against: str, value: int, n_layers: int, n_sequences: int, repeats: int) -> list[dict]:
    """Median seconds of every way on one shape."""
    with tempfile.TemporaryDirectory() as folder:
        bridge = models.load(shapes.checkpoint(shapes.narrow(n_layers, WIDTH, VOCABULARY), Path(folder)))
    tokens = shapes.tokens(n_sequences, CONTEXT, VOCABULARY)
    ways = {
        "sweep": lambda: contenders.sweep(bridge, tokens),
        "plain loop": lambda: contenders.plain_loop(bridge, tokens),
    }
    measured = meter.in_turn(ways, repeats)
    return [{"against": against, "value": value, "what": what, "seconds": own.median} for what, own in measured.items()]


def exponent(table: pd.DataFrame) -> float:
    """The power of ``value`` with which seconds grow: the slope of a line through the logarithms."""
    return float(np.polyfit(np.log(table["value"]), np.log(table["seconds"]), deg=1)[0])


def draw(table: pd.DataFrame) -> plt.Figure:
    """Seconds against layers and against tokens, on logarithmic axes, exponents in the legend."""
    with plt.rc_context(figures.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.6))
    for ax, (against, part) in zip(axes, table.groupby("against"), strict=True):
        for (what, own), colour in zip(part.groupby("what", sort=False), (figures.BLUE, figures.ORANGE), strict=True):
            power = exponent(own)
            print(f"{LABELS[what]}: time grows with {against} to the power {power:.2f}", flush=True)
            ax.plot(own["value"], own["seconds"], "o-", color=colour, label=f"{LABELS[what]}: power {power:.2f}")
        ax.set(xscale="log", yscale="log", xlabel=against, ylabel="seconds, all lesions")
        ax.set_xticks(part["value"].unique(), labels=part["value"].unique(), minor=False)
        ax.minorticks_off()
        ax.legend()
    return figure


if __name__ == "__main__":
    with torch.no_grad():
        run(Path(__file__).parent, repeats=3)
