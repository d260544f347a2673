"""The work of an experiment, in operations, put together from what the helpers do: blocks, predictions, passes.

Products are counted (``arithmetic``). What is no product costs as many operations more as ``benchmarks/run.py``
measured beside square products on the same processor: for each activation of a block (d_model and d_mlp of every
token), for each logit that is reduced to a prediction, and for each cosine whose moments are taken. Tables, intervals
and figures are not counted.
"""

from dataclasses import dataclass

from helpers.engine import arithmetic
from helpers.engine.arithmetic import Sizes

PER_ACTIVATION, PER_LOGIT, PER_COSINE = 1700, 600, 1000
Number = int | float


@dataclass(frozen=True)
class Run:
    """One experiment on one model and its ``twins``, and ``exact`` in float32, on so many sequences."""

    sizes: Sizes
    n_sequences: int
    context: int
    twins: int = 0
    exact: int = 0

    @property
    def n(self) -> int:
        return self.sizes.n_layers

    @property
    def all(self) -> int:
        """The model and its twins."""
        return 1 + self.twins

    @property
    def tokens(self) -> int:
        return self.n_sequences * self.context

    @property
    def neurons(self) -> int:
        return self.n * self.sizes.d_mlp

    def some(self, n_sequences: int, context: int | None = None) -> int:
        """Tokens of at most so many sequences, cut to so many tokens each."""
        return min(n_sequences, self.n_sequences) * min(context or self.context, self.context)

    def every(self, n_sequences: int, context: int | None = None) -> int:
        """Tokens of every k-th sequence, k as large as leaves at least ``n_sequences`` of them."""
        step = max(1, self.n_sequences // max(1, n_sequences))
        return self.some(-(-self.n_sequences // step), context)

    def blocks(self, count: Number, tokens: Number) -> Number:
        """So many blocks, each on all ``tokens``."""
        handled = PER_ACTIVATION * (self.sizes.d_model + self.sizes.d_mlp)
        return count * tokens * (arithmetic.block(self.sizes, self.context) + handled)

    def reads(self, count: Number, tokens: Number) -> Number:
        """Predictions read off so many rows of the stream, at all ``tokens``."""
        return count * tokens * (arithmetic.unembedding(self.sizes) + PER_LOGIT * self.sizes.d_vocab)

    def passes(self, count: Number, tokens: Number) -> Number:
        """The model as it is, so many times."""
        return self.blocks(count * self.n, tokens) + count * tokens * arithmetic.unembedding(self.sizes)

    def lesions(self, tokens: Number) -> Number:
        """Every drop and every swap in one walk, beside the intact model."""
        return self.blocks(self.n**2, tokens) + self.reads(2 * self.n + 1, tokens)

    def lens(self, tokens: Number) -> Number:
        """Every row of the lens, at two scales that share a product."""
        return self.passes(2, tokens) + self.reads(1.5 * self.n + 5, tokens)

    def moments(self, directions: Number) -> Number:
        """The moments over the vocabulary of so many directions."""
        return directions * (arithmetic.unembedding(self.sizes) + PER_COSINE * self.sizes.d_vocab)

    def maps(self, places: Number) -> Number:
        """An affine map fitted to every row: two products and an eigenvalue problem, in float64."""
        return self.n * (8 * places * self.sizes.d_model**2 + 20 * self.sizes.d_model**3)
