"""How many sequences and rows go through a model at once.

Nothing measured depends on it: sequences are independent. It decides memory and speed only.
"""

from collections.abc import Iterator

from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

STREAM_ELEMENTS = 2**27  # residual stream elements held at once: 512 MB in float32
CPU_TOKENS_PER_CALL = 1024
GPU_TOKENS_PER_CALL = 65536


def split(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto", streams: int = 1
) -> Iterator[tuple[int, Int[Tensor, "batch pos"]]]:
    """Batches on the model's device, each with the index of its first sequence.

    ``auto`` takes as many sequences as keep ``streams`` residual streams of each within memory.
    """
    size = auto_batch_size(bridge, tokens.shape[1], streams) if batch_size == "auto" else int(batch_size)
    device = next(bridge.parameters()).device
    for first in range(0, len(tokens), size):
        yield first, tokens[first : first + size].to(device)


def auto_batch_size(bridge: TransformerBridge, context: int, streams: int) -> int:
    """Sequences per batch when the user names none."""
    by_memory = STREAM_ELEMENTS // (streams * context * bridge.cfg.d_model)
    return max(1, by_memory if streams > 1 else min(by_memory, rows_per_call(bridge, context)))


def rows_per_call(bridge: TransformerBridge, context: int) -> int:
    """Sequences in one call of a block: enough to keep the processor busy, few enough to stay in its caches."""
    on_cpu = next(bridge.parameters()).device.type == "cpu"
    return max(1, (CPU_TOKENS_PER_CALL if on_cpu else GPU_TOKENS_PER_CALL) // context)
