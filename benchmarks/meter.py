"""Time and memory of several ways to do the same thing, in turn within one process."""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class Measured:
    """What repeated runs of one contender took."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: list[float] = field(default_factory=list)
    result: object = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def peak_gb(self) -> float:
        """Most memory held beyond what was held before, weights included there."""
        return max(self.peak_bytes) / 1e9

    def ratio_to(self, other: "Measured") -> float:
        """Median over repeats of own time / the other's in the same repeat."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


def in_turn(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, Measured]:
    """Run every contender once per repeat, one after the other."""
    measured = {what: Measured() for what in contenders}
    for _ in range(repeats):
        for what, run in contenders.items():
            before = _reset_peak()
            start = time.perf_counter()
            measured[what].result = run()
            measured[what].seconds.append(time.perf_counter() - start)
            measured[what].peak_bytes.append(_memory("VmHWM") - before)
    return measured


def matrix_rate(size: int = 3072, repeats: int = 7) -> float:
    """This machine's float32 multiply-adds: operations per second of a large square product, the median."""
    a, b, product = (torch.randn(size, size) for _ in range(3))
    return product_rate(lambda: torch.mm(a, b, out=product), 2 * size**3, repeats)


def product_rate(run: Callable[[], object], operations: float, repeats: int = 7) -> float:
    """Operations per second of ``run``, the median."""
    run()
    return operations / in_turn({"": run}, repeats)[""].median


def _reset_peak() -> float:
    """Forget the peak so far; bytes held now, without what was freed and not given back."""
    gc.collect()
    if RESET.exists():
        ctypes.CDLL(None).malloc_trim(0)
        RESET.write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> float:
    """Bytes, as Linux counts them; not a number elsewhere."""
    if not STATUS.exists():
        return float("nan")
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024.0 * int(line.split()[1])
