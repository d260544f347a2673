"""How large tensors get while something runs: memory without a clock, an operating system or a GPU."""

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Watch(TorchDispatchMode):
    largest = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        storages = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.largest = max(self.largest, *storages, 0)
        return result


def largest_bytes(run: Callable[[], object]) -> int:
    """Bytes of the largest tensor that any operation in ``run`` returned."""
    with _Watch() as watch:
        run()
    return watch.largest
