"""Shards: the sequences of a long text in parts, each measured by a process of its own and kept on disk.

A shard is whole batches, and what is counted over the whole text is counted over all of it, so that the rows of
all shards are those of one run, to the byte. Intervals are computed from all rows together, in the notebook.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pandas as pd
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import attention, lens, lesion, models, norms, tables
from helpers.command import execution, locks, stopping
from helpers.command.jobs import Shard
from helpers.command.parser import PROGRAM
from helpers.errors import InputError
from helpers.judging import twins
from helpers.text import documents

SWEEPS: dict[str, Callable[..., pd.DataFrame]] = {
    lesion.SLUG: lesion.sweep,
    attention.SLUG: attention.sweep,
    lens.SLUG: lens.sweep,
    norms.SLUG: norms.sweep,
}


def cut(n_sequences: int, batch_size: int, n_shards: int) -> list[range]:
    """The sequences of each shard: whole batches, as many in one shard as in another, or one more; it may have none."""
    n_batches = -(-n_sequences // batch_size)
    starts = [number * n_batches // n_shards * batch_size for number in range(n_shards + 1)]
    return [range(start, min(stop, n_sequences)) for start, stop in pairwise(starts)]


def measure(
    shard: Shard, bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], everything: bool = False
) -> None:
    """Measure one shard of the text, on the model and on its untrained twins, unless that has been done."""
    with locks.alone(shard.model, f"{shard.slug}-{shard.number}of{shard.of}", shard.title):
        if everything or not shard.is_current():
            _measure(shard, bridge, tokens)


def run(shard: Shard, everything: bool, threads: int | None) -> None:
    """Measure one shard in another process. Raises ``InputError`` with the one line that it ends with."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in shard.parameters.items()]
    which = [
        "--only",
        shard.slug,
        "--shards",
        str(shard.of),
        "--shard",
        str(shard.number),
        *(["--force"] if everything else []),
    ]
    offline = not documents.is_streamed(shard.parameters["corpus"])
    ended = subprocess.run(
        [sys.executable, "-m", "helpers.pipeline", *options, *which],
        env=os.environ | execution.process_variables(offline, threads) | {stopping.PARENT_VARIABLE: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ended.returncode < 0:
        cause = f"the process was ended by signal {-ended.returncode}; out of memory? try a smaller --batch-size"
        raise InputError(f"{shard.title}: {cause}")
    if ended.returncode:
        cause = (ended.stderr.strip() or "no message").splitlines()[-1]
        raise InputError(f"{shard.title}: {cause.removeprefix(f'{PROGRAM}: ')}")


def _measure(shard: Shard, bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"]) -> None:
    parameters = shard.parameters
    of_model = {key: parameters[key] for key in ("device", "dtype", "seed")}
    part = cut(len(tokens), int(parameters["batch_size"]), shard.of)[shard.number - 1]
    sweep = partial(SWEEPS[shard.slug], tokens=tokens, batch_size=parameters["batch_size"], only=part)
    keep = partial(tables.save_shard, shard.slug, number=shard.number, of=shard.of, inputs=shard.inputs)
    if parameters["control"] == "untrained":
        rows = twins.measure(shard.model, sweep, **of_model) if part else pd.DataFrame()
        keep(twins.name(shard.model), rows=rows)
    against = {}
    if shard.slug == lesion.SLUG and parameters["dtype"] != "float32":
        against = {"exact": models.load(shard.model, device=parameters["device"], seed=parameters["seed"])}
    keep(shard.model, rows=sweep(bridge, **against) if part else pd.DataFrame())  # last: it says that all is done
