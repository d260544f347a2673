"""How fast a machine multiplies: operations per second of a large square product, measured or assumed.

The processor of this machine is measured, in half a second: one thread in its own time, times the number of threads, so
that it hardly matters what else is running. A GPU is measured where there is one. Where there is none the authors' own
kind stands in, with its published dense peak (NVIDIA's GA102 whitepaper). Either way a run is *assumed* to reach a
share of that: none of this project has been timed on a GPU.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

ASSUMED_GPU = "NVIDIA RTX A6000"
PEAK = {"float32": 38.7e12, "bfloat16": 154.8e12, "float16": 154.8e12}
REACHED = {"float32": 0.5, "bfloat16": 0.3, "float16": 0.3}
SECONDS = 0.5


@dataclass(frozen=True)
class Rates:
    """Operations per second: the processor's on large float32 products, and what a run is assumed to reach on a GPU."""

    cpu: float
    gpu: float
    cpu_is: str = ""  # in words
    gpu_is: str = ""


@cache
def here(dtype: str = "float32") -> Rates:
    """The rates of this machine, with the GPU in ``dtype``; measured once in a process."""
    n_threads, of_one, share = torch.get_num_threads(), thread_rate(), REACHED[dtype]
    cpu_is = f"measured now: {n_threads} threads of {of_one / 1e9:.0f} GFLOP/s in float32"
    if torch.cuda.is_available():
        name, rate = torch.cuda.get_device_name(), gpu_rate(getattr(torch, dtype))
        gpu_is = f"{name}: {share:.0%}, assumed, of {rate / 1e12:.1f} TFLOP/s, measured now in {dtype}"
        return Rates(n_threads * of_one, share * rate, cpu_is, gpu_is)
    peak = PEAK[dtype]
    gpu_is = f"assumed: {ASSUMED_GPU}, {share:.0%} of its {peak / 1e12:.1f} TFLOP/s in {dtype}"
    return Rates(n_threads * of_one, share * peak, cpu_is, gpu_is)


def thread_rate(size: int = 1024) -> float:
    """Operations per second of one thread of the processor, in the time that it is given."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _rate("cpu", torch.float32, size, time.thread_time)
    finally:
        torch.set_num_threads(n_threads)


def gpu_rate(dtype: torch.dtype, size: int = 8192) -> float:
    """Operations per second of the GPU."""

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return _rate("cuda", dtype, size, now)


def _rate(device: str, dtype: torch.dtype, size: int, now: Callable[[], float]) -> float:
    """The best of as many square products as there is time for: the one that was disturbed least."""
    a, b, product = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(3))
    first = start = now()
    best = math.inf
    while start - first < SECONDS or math.isinf(best):
        torch.mm(a, b, out=product)
        end = now()
        best, start = min(best, end - start), end
    return 2 * size**3 / best
