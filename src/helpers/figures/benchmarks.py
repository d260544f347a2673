"""The figure of benchmarks: accuracy after a layer is dropped or two are swapped, task by task."""

import pandas as pd
from matplotlib.figure import Figure

from helpers.beyond.orders import INTACT
from helpers.figures.style import BLOCK_DEPTH, BLUE, GREEN, ORANGE, PURPLE, Look, curve, panels, styled

LOOKS = {"drop": (BLUE, "-"), "swap": (ORANGE, "--")}
OF_REPEATS = ((GREEN, ":"), (PURPLE, "-."))


@styled
def benchmarks(table: pd.DataFrame) -> Figure:
    """Accuracy against the lesioned layer, a panel for each task; bands are one standard error, as in the paper.

    The dotted line is the intact model.
    """
    tasks = list(table["task"].unique())
    figure, axes = panels(len(tasks), table, "benchmarks after a lesion")
    repeats = [name for name in table["intervention"].unique() if name not in (INTACT, *LOOKS)]
    looks = LOOKS | {name: OF_REPEATS[number % len(OF_REPEATS)] for number, name in enumerate(repeats)}
    error = table["accuracy_stderr"]
    table = table.assign(accuracy_low=table["accuracy"] - error, accuracy_high=table["accuracy"] + error)
    for ax, task in zip(axes, tasks, strict=True):
        of_task = table[table["task"] == task]
        for intervention, (colour, dashes) in looks.items():
            rows = of_task[of_task["intervention"] == intervention]
            if len(rows):
                curve(ax, rows, "accuracy", Look(colour, intervention.replace("_", " "), dashes))
        intact = of_task[of_task["intervention"] == INTACT].iloc[0]
        ax.axhline(intact["accuracy"], color="0.2", lw=1, ls=(0, (1, 2)), label="intact")
        ax.set(xlabel=BLOCK_DEPTH, ylabel=f"{task}: accuracy", ylim=(0, None))
    return figure
