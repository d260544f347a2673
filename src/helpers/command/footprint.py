"""How much main memory a job takes at its peak, in bytes.

A model is loaded, folded and checked in float32 in main memory, whatever it is cast to and wherever it goes then; that
is most of it. A second model beside it is an untrained twin, or the same in float32. The constants were measured with
models of 120 to 500 million parameters of four architectures, untied parameters counted.
"""

from helpers.command.formulas import Experiment
from helpers.command.workload import Run
from helpers.engine import batches, readout

PROCESS_BYTES = 600_000_000  # of Python with all that is imported
NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
LOADING_BYTES = 13.5  # of a parameter, at the peak
LEFT, HELD = 2.7, 1.2  # numbers of a parameter that loading leaves allocated, and that are in use


def peak_bytes(run: Run, experiment: Experiment, dtype: str) -> int:
    """The larger of two peaks: of loading the model, or another beside it; and of measuring."""
    stored, number_bytes = run.sizes.n_stored, NUMBER_BYTES[dtype]
    beside = LEFT * number_bytes if run.twins or run.exact else 0
    loading = (LOADING_BYTES + beside) * stored
    measuring = HELD * number_bytes * stored + 4 * experiment.kept(run) + _batch_bytes(run, number_bytes)
    return int(PROCESS_BYTES + max(loading, measuring))


def _batch_bytes(run: Run, number_bytes: int) -> int:
    """The streams of one batch and their copy, what one block makes of a call, and what reads predictions off them."""
    sizes = run.sizes
    streams = 2 * max(batches.CPU_STREAM_BYTES, 2 * run.n * run.context * sizes.d_model * number_bytes)
    block = 4 * number_bytes * batches.CPU_TOKENS_PER_CALL * (sizes.d_model + sizes.d_mlp)
    return streams + block + 4 * sizes.d_vocab * (2 * sizes.d_model + 3 * readout.CHUNK_ROWS)
