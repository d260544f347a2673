"""Nothing is measured on a model that does not compute what its makers' code computes: the checks made at loading."""

import json
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from helpers import blocks, files
from helpers.engine import model_files
from helpers.engine.sources import Source
from helpers.errors import InputError, refused

MOST_GROWTH = 10_000
SENTENCE = "The old man read the letter twice, and then he put it away."
LOG_PROBABILITY_TOLERANCE = 1e-4


def check_tokenizer_file(source: Source) -> None:
    """It makes no flood of text out of a few words: a dozen replacements, one after another, can make any number of
    gigabytes of one letter."""
    file = source.folder / "tokenizer.json"
    if not file.is_file():
        return
    with refused(f"{source.name}: {file.name} cannot be read, download or save it again"):
        content = json.loads(files.read_text(file))
        steps = [step for part in ("normalizer", "pre_tokenizer", "decoder") for step in _steps(content.get(part))]
        growth = math.prod(1 + len(step["content"]) for step in steps if step["type"] == "Replace")
    if growth > MOST_GROWTH:
        raise InputError(f"{source.name}: the tokenizer makes up to {growth:,} characters of one: use another one")


def check_tokenizer(source: Source, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """A sentence survives it, and the embedding has a row for each of its ids (more rows are padding)."""
    decoded = tokenizer.decode(tokenizer(SENTENCE, add_special_tokens=False)["input_ids"])
    if "".join(decoded.split()).lower() != "".join(SENTENCE.split()).lower():
        raise InputError(f"{source.name}: the tokenizer does not give back a sentence; are its files in the folder?")
    n_ids = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
    if n_ids > rows:
        raise InputError(
            f"{source.name}: the tokenizer has {n_ids} ids, the embedding only {rows} rows; "
            "use the tokenizer the model was trained with"
        )


def check_weights(source: Source, model: PreTrainedModel, report: dict) -> None:
    """Every parameter came from the file, none is left over that belongs to a further layer, all are finite."""
    if report["mismatched_keys"]:
        key, stored, expected = min(report["mismatched_keys"])
        raise InputError(
            f"{source.name}: {key} has shape {tuple(stored)} in the weights file, {tuple(expected)} by config.json: "
            "download or save the model again"
        )
    absent = sorted(map(str, report["missing_keys"]))
    if absent:
        raise InputError(
            f"{source.name}: {len(absent)} parameters are not in the weights file (first: {absent[0]}); "
            "save the whole causal language model, head included"
        )
    n_layers = model.config.get_text_config().num_hidden_layers
    if any(model_files.layer_of(name) >= n_layers for name in report["unexpected_keys"]):
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
    """Predictions are numbers, and changing the last token does not change what is predicted before it."""
    if not expected.isfinite().all():
        raise InputError(f"{source.name} predicts values that are not finite; download or save it again")
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


def _steps(part: dict | None) -> Iterator[dict]:
    """A part of a tokenizer, or those that it is a sequence of."""
    if part is None:
        return
    yield part
    for inner in (step for key in ("normalizers", "pretokenizers", "decoders") for step in part.get(key, [])):
        yield from _steps(inner)
