"""Blocks whose weights rest in main memory or on disk: fetched whenever the block runs, let go afterwards."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary, finalize

from safetensors.torch import load_file, save_file
from torch.nn import Module


def offload(block: Module, runs_on: str, on_disk: bool) -> None:
    """Take the weights of ``block`` away, to disk or main memory; from now on a call fetches them to ``runs_on``."""
    _STORES[block] = store = _Store(block, runs_on, on_disk)
    block.register_forward_pre_hook(lambda *_: store.fetch())
    block.register_forward_hook(lambda *_: store.let_go(), always_call=True)


@contextmanager
def present(block: Module) -> Iterator[None]:
    """Make sure that the weights of a block can be read, wherever it lives."""
    store = _STORES.get(block)
    if store is None:
        yield
        return
    store.fetch()
    try:
        yield
    finally:
        store.let_go()


class _Store:
    """The weights of one block while it does not run."""

    def __init__(self, block: Module, runs_on: str, on_disk: bool) -> None:
        self.parameters = list(block.parameters())
        self.runs_on = runs_on
        values = {str(n): parameter.data.contiguous() for n, parameter in enumerate(self.parameters)}
        self.values = None if on_disk else values
        if on_disk:
            folder = tempfile.mkdtemp(prefix="offloaded-")
            finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self.file = Path(folder) / "block.safetensors"
            save_file(values, self.file)
        self.let_go()

    def fetch(self) -> None:
        values = load_file(self.file) if self.values is None else self.values
        for n, parameter in enumerate(self.parameters):
            parameter.data = values[str(n)].to(self.runs_on)

    def let_go(self) -> None:
        for parameter in self.parameters:
            parameter.data = parameter.data.new_empty(0)


_STORES: WeakKeyDictionary[Module, _Store] = WeakKeyDictionary()
