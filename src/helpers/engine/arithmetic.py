"""How much arithmetic a model is: the multiplications and additions of its matrix products.

Counted from the modules without their weights, so of any decoder. One multiply-add is two operations. A token's query
meets half of the context on average, as causal kernels work; norms, activations and softmax are not counted. A mixture
of experts counts as if all of them ran.
"""

from dataclasses import dataclass

from torch.nn import Module, ModuleList
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Sizes:
    """What the arithmetic of a model follows from."""

    n_parameters: int
    n_stored: int  # parameters once the unembedding is apart from the embedding, as it is after folding
    n_layers: int
    d_model: int
    d_mlp: int
    d_heads: int  # queries of all heads together
    d_vocab: int
    block_weights: int  # in matrices, mean over blocks
    longest: int | None  # tokens of a sequence, where the architecture has a limit

    @classmethod
    def of(cls, skeleton: PreTrainedModel) -> "Sizes":
        """The sizes of a model as ``architectures.skeleton`` builds it."""
        config = skeleton.config.get_text_config()
        blocks = _blocks(skeleton, config.num_hidden_layers)
        weights = sum(parameter.numel() for parameter in blocks.parameters() if parameter.dim() > 1)
        n_parameters = skeleton.num_parameters()
        d_mlp = getattr(config, "intermediate_size", getattr(config, "n_inner", None))
        d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        is_tied = skeleton.get_input_embeddings().weight is skeleton.get_output_embeddings().weight
        return cls(
            n_parameters=n_parameters,
            n_stored=n_parameters + is_tied * config.vocab_size * config.hidden_size,
            n_layers=config.num_hidden_layers,
            d_model=config.hidden_size,
            d_mlp=d_mlp or 4 * config.hidden_size,
            d_heads=config.num_attention_heads * d_head,
            d_vocab=config.vocab_size,
            block_weights=weights // config.num_hidden_layers,
            longest=getattr(config, "max_position_embeddings", None),
        )


def attention(sizes: Sizes, context: int) -> int:
    """Operations of one attention layer on one token besides its projections: scores, and the values mixed by them."""
    return 2 * 2 * sizes.d_heads * context // 2


def block(sizes: Sizes, context: int) -> int:
    """Operations of one block on one token."""
    return 2 * sizes.block_weights + attention(sizes, context)


def unembedding(sizes: Sizes) -> int:
    """Operations of reading the logits of one position."""
    return 2 * sizes.d_model * sizes.d_vocab


def walk(sizes: Sizes, context: int) -> int:
    """Operations of every drop and every swap on one token: n**2 blocks, 2 n predictions beside the intact one's."""
    return sizes.n_layers**2 * block(sizes, context) + 2 * sizes.n_layers * unembedding(sizes)


def _blocks(skeleton: PreTrainedModel, n_layers: int) -> Module:
    """The list of a model's blocks: of lists that long, the one with most parameters."""
    lists = [part for part in skeleton.modules() if isinstance(part, ModuleList) and len(part) == n_layers]
    return max(lists, key=lambda part: sum(parameter.numel() for parameter in part.parameters()))
