"""How much goes through a model at once, and what happens when that was too much.

Nothing measured depends on it: sequences are independent. It decides memory and speed only. The sizes
below are what keeps a processor busy, less where little memory is free; when memory runs out all the
same, half as much is tried.
"""

from collections.abc import Callable
from typing import TypeVar

import pandas as pd
import psutil
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.errors import InputError

CPU_TOKENS_PER_CALL, CPU_STREAM_BYTES = 1024, 2**28
GPU_TOKENS_PER_CALL, GPU_STREAM_BYTES = 65536, 2**34
MEMORY_SHARE = 1 / 4  # of the free memory: for residual streams, and again for what one block makes of them
Result = TypeVar("Result")


class OutOfMemoryError(InputError):
    """Not even one sequence fits."""


def over_sequences(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    measure: Callable[[int, Int[Tensor, "batch pos"]], list[pd.DataFrame]],
    batch_size: int | str = "auto",
    streams: int = 1,
    only: range | None = None,
) -> pd.DataFrame:
    """One table of ``measure(first, batch)``, batch by batch; ``first`` is a batch's first sequence.

    ``auto`` takes as many sequences as keep ``streams`` residual streams of each within memory; ``only`` some
    sequences are measured where a range of them is given. Raises ``OutOfMemoryError`` where one is too much.
    """
    size = auto_batch_size(bridge, tokens.shape[1], streams) if batch_size == "auto" else int(batch_size)
    start, stop = (only.start, only.stop) if only is not None else (0, len(tokens))
    parts = in_parts(tokens[start:stop], size, lambda first, batch: measure(start + first, batch.to(device(bridge))))
    return pd.concat([frame for frames in parts for frame in frames], ignore_index=True)


def in_parts(rows: Shaped[Tensor, "row *rest"], size: int, run: Callable[[int, Tensor], Result]) -> list[Result]:
    """``run(first, part)`` over ``rows``, ``size`` at a time, and half as many whenever memory runs out."""
    results: list[Result] = []
    first = 0
    while first < len(rows):
        part = rows[first : first + size]
        try:
            results.append(run(first, part))
        except (RuntimeError, MemoryError, OutOfMemoryError) as error:
            if not _ran_out_of_memory(error):
                raise
            size = len(part) // 2
        else:
            first += len(part)
            continue
        if size == 0:
            raise OutOfMemoryError(
                f"memory runs out with a single sequence of {rows.shape[1]} tokens: "
                "use a shorter --context, a smaller model or --dtype bfloat16"
            )
        _free_cache()  # out here, where nothing holds the failed attempt's tensors any more
    return results


def auto_batch_size(bridge: TransformerBridge, context: int, streams: int) -> int:
    """Sequences per batch when the user names none."""
    most = CPU_STREAM_BYTES if device(bridge).type == "cpu" else GPU_STREAM_BYTES
    bytes_each = streams * context * bridge.cfg.d_model * _element_size(bridge)
    by_memory = int(min(most, MEMORY_SHARE * free_memory(device(bridge)))) // bytes_each
    return max(1, by_memory if streams > 1 else min(by_memory, rows_per_call(bridge, context)))


def rows_per_call(bridge: TransformerBridge, context: int) -> int:
    """Sequences in one call of a block: enough to keep the processor busy, few enough to stay in its caches."""
    most = CPU_TOKENS_PER_CALL if device(bridge).type == "cpu" else GPU_TOKENS_PER_CALL
    bytes_each = 4 * (bridge.cfg.d_model + (bridge.cfg.d_mlp or 0)) * _element_size(bridge)
    by_memory = int(MEMORY_SHARE * free_memory(device(bridge))) // bytes_each
    return max(1, min(most, by_memory) // context)


def device(bridge: TransformerBridge) -> torch.device:
    """Where the model takes its tokens."""
    return next(bridge.parameters()).device


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on a device."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _element_size(bridge: TransformerBridge) -> int:
    return next(bridge.parameters()).element_size()


def _ran_out_of_memory(error: BaseException) -> bool:
    known = (torch.OutOfMemoryError, MemoryError, OutOfMemoryError)
    return isinstance(error, known) or "can't allocate memory" in str(error)


def _free_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
