"""Nothing is measured on a model that does not compute what its makers' code computes: the checks made at loading."""

import re

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from helpers import blocks
from helpers.engine.sources import Source
from helpers.errors import InputError

SENTENCE = "The old man read the letter twice, and then he put it away."
LOG_PROBABILITY_TOLERANCE = 1e-4


def check_config(source: Source, config: PreTrainedConfig) -> None:
    """It describes a causal decoder with layers."""
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(f"{source.name} is a {config.model_type} model, not a causal decoder: choose a GPT-like one")
    if config.get_text_config().num_hidden_layers < 1:
        raise InputError(f"{source.name}: config.json says it has no layers; mend num_hidden_layers")


def check_tokenizer(source: Source, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """A sentence survives it, and the embedding has a row for each of its ids (more rows are padding)."""
    decoded = tokenizer.decode(tokenizer(SENTENCE, add_special_tokens=False)["input_ids"])
    if "".join(decoded.split()).lower() != "".join(SENTENCE.split()).lower():
        raise InputError(f"{source.name}: the tokenizer does not give back a sentence; are its files in the folder?")
    if len(tokenizer) > rows:
        raise InputError(
            f"{source.name}: the tokenizer has {len(tokenizer)} ids, the embedding only {rows} rows; "
            "use the tokenizer the model was trained with"
        )


def check_weights(source: Source, model: PreTrainedModel, report: dict) -> None:
    """Every parameter came from the file, none is left over that belongs to a further layer, all are finite."""
    absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if absent:
        raise InputError(
            f"{source.name}: {len(absent)} parameters are not in the weights file (first: {absent[0]}); "
            "save the whole causal language model, head included"
        )
    n_layers = model.config.get_text_config().num_hidden_layers
    if any(_layer(name) >= n_layers for name in report["unexpected_keys"]):
        raise InputError(
            f"{source.name}: the weights file has more layers than config.json says; mend num_hidden_layers"
        )
    broken = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if broken:
        raise InputError(f"{source.name}: {broken[0]} has values that are not finite; download or save it again")


def probe(vocab_size: int) -> Tensor:
    """Two different sequences of 16 tokens [2, 16] on which models are compared."""
    return torch.randint(vocab_size, (2, 16), generator=torch.Generator().manual_seed(0))


def log_probabilities(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """What a Hugging Face model predicts."""
    return model(tokens, use_cache=False).logits.log_softmax(-1)


def check_causal(source: Source, model: PreTrainedModel, probe: Tensor, expected: Tensor) -> None:
    """Changing the last token must not change what is predicted before it."""
    changed = probe.clone()
    changed[:, -1] = (changed[:, -1] + 1) % expected.shape[-1]
    difference = (log_probabilities(model, changed) - expected).abs().amax(-1)
    if difference[:, :-1].max() > LOG_PROBABILITY_TOLERANCE:
        raise InputError(f"{source.name} looks ahead in the text, so it is no causal decoder: choose a GPT-like one")


def check_bridge(source: Source, bridge: TransformerBridge, probe: Tensor, expected: Tensor) -> None:
    """Folded model and block-by-block run must both predict what the Hugging Face model predicts."""
    folded = bridge(probe, use_cache=False).log_softmax(-1)
    by_block = blocks.run_order(bridge, probe, range(bridge.cfg.n_layers)).log_softmax(-1)
    for what, actual in (("after folding its norms", folded), ("run block by block", by_block)):
        difference = (actual - expected).abs().max().item()
        if not difference <= LOG_PROBABILITY_TOLERANCE:
            raise InputError(
                f"{source.name} ({bridge.cfg.architecture}) predicts differently {what} "
                f"(log-probabilities off by {difference:.2g}): this architecture is not supported"
            )


def _layer(name: str) -> int:
    """The layer a parameter belongs to, by the first number in its name; -1 if there is none."""
    numbers = re.findall(r"\.(\d+)\.", name)
    return int(numbers[0]) if numbers else -1
