"""Small random checkpoints of every tested architecture, saved the way any user's model would be.

Fresh weights are so small that a forgotten rotary embedding or bias hardly shows; here they are scaled
up, and norm weights and biases are random, so that every such mistake moves the predictions visibly.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PhiConfig,
    PreTrainedModel,
    Qwen2Config,
)

LAYERS, WIDTH, CONTEXT, VOCABULARY = 4, 64, 128, 1536
PADDED = VOCABULARY + 64  # some models have more embedding rows than their tokenizer has ids
TOKENIZER = Path(__file__).parents[1] / "models" / "pocket"
GPT2 = dict(n_layer=LAYERS, n_embd=WIDTH, n_head=4, n_positions=CONTEXT, vocab_size=VOCABULARY)
SIZE = dict(num_hidden_layers=LAYERS, hidden_size=WIDTH, num_attention_heads=4, max_position_embeddings=CONTEXT)
GATED = dict(intermediate_size=160, num_key_value_heads=2)  # two query heads share a key head
ENDS = dict(bos_token_id=0, eos_token_id=0)
CONFIGS = {
    "gpt2": lambda: GPT2Config(**GPT2, **ENDS),
    "gpt2_untied": lambda: GPT2Config(**GPT2, **ENDS, tie_word_embeddings=False),
    "neox_parallel": lambda: GPTNeoXConfig(
        **SIZE, **ENDS, vocab_size=PADDED, intermediate_size=256, use_parallel_residual=True
    ),
    "neox_sequential": lambda: GPTNeoXConfig(
        **SIZE, **ENDS, vocab_size=VOCABULARY, intermediate_size=256, use_parallel_residual=False
    ),
    "phi": lambda: PhiConfig(**SIZE, **ENDS, vocab_size=PADDED, intermediate_size=256),
    "llama": lambda: LlamaConfig(**SIZE, **ENDS, **GATED, vocab_size=VOCABULARY),
    "qwen2": lambda: Qwen2Config(**SIZE, **ENDS, **GATED, vocab_size=PADDED, tie_word_embeddings=True),
}
KINDS = tuple(CONFIGS)
LAYER_NORM_KINDS = ("gpt2", "gpt2_untied", "neox_parallel", "neox_sequential", "phi")
ROTARY_KINDS = ("neox_parallel", "neox_sequential", "phi", "llama", "qwen2")


class MadeOnce(dict):
    """A dictionary that makes what it is asked for and does not have yet."""

    def __init__(self, make: Callable[[str], object]) -> None:
        self.make = make

    def __missing__(self, kind: str) -> object:
        self[kind] = self.make(kind)
        return self[kind]


def make_checkpoint(kind: str, folder: Path, seed: int = 0) -> Path:
    """Save a random model of ``kind`` and the bundled tokenizer into ``folder``."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[kind]())
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
            else:
                parameter.normal_(mean=0.0 if name.endswith("bias") else 1.0, std=0.3)
    return save(model, folder)


def save(model: PreTrainedModel, folder: Path) -> Path:
    """Save a model with the bundled tokenizer."""
    model.save_pretrained(folder)
    for file in TOKENIZER.glob("tokenizer*"):
        shutil.copy(file, folder)
    return Path(folder)


def some_tokens(n_sequences: int = 3, context: int = 9) -> torch.Tensor:
    """Random tokens behind BOS [n_sequences, context], the same each time."""
    tokens = torch.randint(VOCABULARY, (n_sequences, context), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 0
    return tokens
