"""What options can ask for only in part, or only together. Everything here raises ``InputError``."""

import sys
from collections.abc import Sequence
from typing import Any

from helpers.errors import InputError

SHARDED = ("layer_lesion", "local_attention", "logit_lens", "mlp_norm")  # measured sequence by sequence
LONGEST_NUMBER = 18  # digits
MOST_JOBS = 1024
SHORTEST_CONTEXT = 8  # that of helpers.corpus, which loads torch


def batch_size(value: str | int) -> str | int:
    """``auto``, or a positive number."""
    text = str(value)
    if text == "auto":
        return "auto"
    if not text.isdecimal() or len(text) > LONGEST_NUMBER or int(text) < 1:
        raise InputError(f"batch size {value!r} is neither auto nor a positive number")
    return int(text)


def check_text(tokens: int, context: int) -> None:
    """How much text is asked for, and in how long pieces."""
    most = 10**LONGEST_NUMBER
    if not 1 <= tokens <= most:
        raise InputError(f"--tokens {tokens}: evaluate on at least 1 and at most {most:,}")
    if not SHORTEST_CONTEXT <= context <= most:
        raise InputError(f"--context {context} is not a length: use at least {SHORTEST_CONTEXT} tokens")


def check_shards(given: dict[str, Any], batch_size: str | int, slugs: Sequence[str]) -> None:
    """Shards are whole batches, so the size of a batch must be known; a single one is of one experiment and model."""
    shards, shard = given["shards"], given["shard"]
    if shards < 1:
        raise InputError(f"--shards {shards}: cut into at least 1")
    if shards > 1 and batch_size == "auto":
        raise InputError(f"--shards {shards} cuts between batches: say how long they are with --batch-size")
    if shard is None:
        return
    if not 1 <= shard <= shards:
        raise InputError(f"--shard {shard} is not between 1 and {shards}, the number of --shards")
    if len(given["model"] or []) != 1 or len(slugs) != 1 or slugs[0] not in SHARDED:
        raise InputError(
            f"--shard is a part of one experiment on one --model: add --only with one of {', '.join(SHARDED)}"
        )


def check_verify(given: dict[str, Any]) -> None:
    """What is stored is compared as a whole, and not changed."""
    others = [f"--{name}" for name in ("refresh", "list", "shard") if given[name]]
    if given["verify"] and others:
        raise InputError(f"--verify writes nothing and runs all that is chosen: it takes no {others[0]}")


def check_refresh(arguments: Sequence[str] | None) -> None:
    """The committed notebooks show pocket with their own defaults: refreshing takes no other choice."""
    given = [word for word in (sys.argv[1:] if arguments is None else arguments) if word.startswith("--")]
    if others := [word for word in given if word.split("=")[0] not in ("--refresh", "--only", "--jobs", "--list")]:
        raise InputError(f"--refresh reruns the notebooks' own defaults and takes no {others[0]}")
