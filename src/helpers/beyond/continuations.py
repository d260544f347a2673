"""The log-likelihood of a continuation after a context, under many orders of the blocks at once.

What benchmarks ask of a model: log p(continuation | context) in nats, summed over the continuation's tokens, and
whether each of these is the model's first guess. Sequences run with others of about their length, padded on the
right, where a causal model does not look. Too long ones lose tokens on the left, as in lm-evaluation-harness.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks
from helpers.beyond.orders import walk
from helpers.engine.batches import device, in_parts, rows_per_call
from helpers.engine.readout import Unembedding
from helpers.errors import InputError
from helpers.models import context_limit

Request = tuple[list[int], list[int]]  # the tokens of a context and of its continuation, neither empty


def no_report(done: int, total: int) -> None:
    """Say nothing of how many requests are done."""


def score(
    bridge: TransformerBridge,
    requests: Sequence[Request],
    orders: Sequence[tuple[int, ...]],
    batch_size: int | str = "auto",
    report: Callable[[int, int], None] = no_report,
) -> tuple[Float[np.ndarray, "order request"], Bool[np.ndarray, "order request"]]:
    """Log-likelihoods, and whether greedy decoding would give that continuation, in the order of ``requests``."""
    limit = context_limit(bridge)
    if not all(context and 0 < len(continuation) <= limit for context, continuation in requests):
        raise InputError(f"an answer has no tokens, or more than the model's {limit}: choose another task or model")
    sequences = [torch.tensor((context + continuation)[-limit - 1 :]) for context, continuation in requests]
    lengths = torch.tensor([len(sequence) - 1 for sequence in sequences])  # the last token is only predicted
    scored = torch.tensor([len(continuation) for _, continuation in requests])
    by_length = lengths.argsort(descending=True, stable=True)  # the longest first: if memory is short, it shows at once
    unembedding = Unembedding.of(bridge)
    likelihood = np.zeros((len(orders), len(requests)))
    greedy = np.zeros((len(orders), len(requests)), dtype=bool)

    def run(first: int, padded: Int[Tensor, "row pos"]) -> None:
        members = by_length[done + first : done + first + len(padded)]
        tokens = padded[:, :-1].to(device(bridge))
        row, position = _continuation_places(lengths[members], scored[members])
        labels = padded[row, position + 1]
        inputs = blocks.record_inputs(bridge, tokens)
        for order, residual in walk(bridge, tokens, orders, inputs):
            hidden = bridge.ln_final(residual[row, position][None])[0]
            predictions = unembedding.read(hidden, labels.to(hidden.device))
            sums = torch.zeros(2, len(members), dtype=torch.float64)
            sums.index_add_(1, row, torch.stack([-predictions.loss_nats, ~predictions.correct]).double().cpu())
            likelihood[order, members], greedy[order, members] = sums[0], sums[1] == 0

    done = 0
    while done < len(by_length):
        longest = int(lengths[by_length[done]])
        size = rows_per_call(bridge, longest) if batch_size == "auto" else int(batch_size)
        batch = [sequences[number] for number in by_length[done : done + size]]
        in_parts(pad_sequence(batch, batch_first=True), size, run)
        done += len(batch)
        report(done, len(requests))
    return likelihood, greedy


def _continuation_places(
    lengths: Int[Tensor, "row"], scored: Int[Tensor, "row"]
) -> tuple[Int[Tensor, "place"], Int[Tensor, "place"]]:
    """Row and position of every prediction that counts: the last ``scored`` ones of each row's ``lengths``."""
    position = torch.arange(int(lengths.max()))
    counts = (position < lengths[:, None]) & (position >= (lengths - scored)[:, None])
    row, place = counts.nonzero(as_tuple=True)
    return row, place
