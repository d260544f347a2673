"""Models of the shapes to be measured, with random weights: time and memory do not depend on the values."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig

from helpers import paths

TOKENIZER = paths.BUNDLED_MODELS / "pocket"  # any will do: the tokens are drawn at random
ENDS = {"bos_token_id": 0, "eos_token_id": 0}
CONFIGS = {
    "gpt2": lambda: GPT2Config(**ENDS),
    "pythia-410m": lambda: GPTNeoXConfig(
        vocab_size=50304, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, **ENDS
    ),
    "48-layers": lambda: narrow(n_layers=48, width=512, vocab_size=50257),
    "12-layers": lambda: GPTNeoXConfig(
        vocab_size=4096,
        hidden_size=128,
        num_hidden_layers=12,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=256,
        use_parallel_residual=False,
        **ENDS,
    ),
}


def narrow(n_layers: int, width: int, vocab_size: int) -> GPT2Config:
    """A GPT-2 with heads of 64 dimensions, as deep and as narrow as asked for."""
    return GPT2Config(n_layer=n_layers, n_embd=width, n_head=width // 64, vocab_size=vocab_size, **ENDS)


def checkpoint(config, folder: Path) -> str:
    """Save a model with random weights, large enough to make every layer matter, and a tokenizer."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2)
        model.save_pretrained(folder)
    for file in TOKENIZER.glob("tokenizer*"):
        shutil.copy(file, folder)
    return str(folder)


def tokens(n_sequences: int, context: int, vocab_size: int) -> torch.Tensor:
    """Random tokens [sequence, pos] behind BOS."""
    drawn = torch.randint(vocab_size, (n_sequences, context), generator=torch.Generator().manual_seed(0))
    drawn[:, 0] = 0
    return drawn
