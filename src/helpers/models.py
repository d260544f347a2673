"""Load any decoder as a ``TransformerBridge`` whose single blocks can be trusted.

Names are an alias of the paper's models, a local folder or a Hub id, with ``@revision``
and ``@untrained`` behind them. The model is loaded in float32 from safetensors, the final norm is
folded into the unembedding, weights that write to the residual stream are centred where the model
uses LayerNorm, the unembedding is centred over the vocabulary (as the authors did), and all of that
is checked against the Hugging Face model before anything is measured. Only then is it cast.
"""

import io
import re
import warnings
from contextlib import redirect_stdout

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from helpers import blocks, fused, placement
from helpers.errors import InputError, reason
from helpers.sources import Source, find

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SENTENCE = "The old man read the letter twice, and then he put it away."
TOLERANCE = 1e-4

disable_progress_bar()


@torch.no_grad()
def load(name: str, device: str = "auto", dtype: str = "float32", seed: int = 0) -> TransformerBridge:
    """The model called ``name``, ready to be measured: no gradients, eval mode, checked, on ``device``.

    ``seed`` draws the weights of an ``@untrained`` model. Raises ``InputError`` (one line: cause and fix)
    for a model that is not there, gated, broken, no causal decoder, or not run correctly block by block.
    ``device`` may also be a device map, see ``placement``.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    target = None if placement.is_device_map(device) else torch_device(device)
    source = find(name)
    config = _config(source)
    device_map = None if target else placement.device_map(device, _skeleton(config), DTYPES[dtype])
    tokenizer = _tokenizer(source, config)
    model = _untrained(config, seed) if source.untrained else _trained(source, config)
    probe = _probe(config.get_text_config().vocab_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = _log_probabilities(model.eval(), probe)
        _check_causal(source, model, probe, expected)
        bridge = _bridge(source, model, tokenizer)
    _check_bridge(source, bridge, probe, expected)
    bridge = _placed(bridge, target or torch.device("cpu"), DTYPES[dtype])
    return placement.dispatch(bridge, device_map) if device_map else bridge


def device_name(device: str) -> str:
    """What ``device`` means on this machine."""
    return device if placement.is_device_map(device) else str(torch_device(device))


def torch_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; raises ``InputError`` for one this machine lacks."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if device.startswith("meta"):
            raise RuntimeError("holds no values")
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device {device!r} is not available here: use cpu, or auto to choose") from None


def count_parameters(source: Source) -> int:
    """Parameters of the model as Hugging Face builds it; nothing is loaded."""
    return _skeleton(_config(source)).num_parameters()


def context_limit(bridge: TransformerBridge) -> int:
    """Longest sequence in tokens, BOS included, that the model takes."""
    return int(bridge.cfg.n_ctx)


def _config(source: Source):
    try:
        config = AutoConfig.from_pretrained(source.folder)
    except Exception as error:  # a field of the wrong type has an exception of its own
        raise InputError(
            f"{source.name}: config.json cannot be used, download or save the model again ({reason(error)})"
        ) from None
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(f"{source.name} is a {config.model_type} model, not a causal decoder: choose a GPT-like one")
    if config.get_text_config().num_hidden_layers < 1:
        raise InputError(f"{source.name}: config.json says it has no layers; mend num_hidden_layers")
    return config


def _tokenizer(source: Source, config):
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
        ids = tokenizer(SENTENCE, add_special_tokens=False)["input_ids"]
        decoded = tokenizer.decode(ids)
    except Exception as error:  # tokenizers raise bare Exceptions
        raise InputError(
            f"{source.name}: the tokenizer does not load, save it into the folder ({reason(error)})"
        ) from None
    if "".join(decoded.split()).lower() != "".join(SENTENCE.split()).lower():
        raise InputError(f"{source.name}: the tokenizer does not give back a sentence; are its files in the folder?")
    rows = config.get_text_config().vocab_size
    if len(tokenizer) > rows:
        raise InputError(
            f"{source.name}: the tokenizer has {len(tokenizer)} ids, the embedding only {rows} rows; "
            "use the tokenizer the model was trained with"
        )
    return tokenizer


def _skeleton(config):
    """The model without its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _trained(source: Source, config):
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            source.folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise InputError(f"{source.name}: a weights file is damaged, download or save it again ({error})") from None
    except Exception as error:  # a quantised model asks for packages, a broken config for anything
        raise InputError(f"{source.name}: the weights do not load, save it again ({reason(error)})") from None
    absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if absent:
        raise InputError(
            f"{source.name}: {len(absent)} parameters are not in the weights file (first: {absent[0]}); "
            "save the whole causal language model, head included"
        )
    deeper = [name for name in report["unexpected_keys"] if _layer(name) >= config.get_text_config().num_hidden_layers]
    if deeper:
        raise InputError(
            f"{source.name}: the weights file has more layers than config.json says; mend num_hidden_layers"
        )
    broken = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if broken:
        raise InputError(f"{source.name}: {broken[0]} has values that are not finite; download or save it again")
    return model


def _layer(name: str) -> int:
    """The layer a parameter belongs to, by the first number in its name; -1 if there is none."""
    numbers = re.findall(r"\.(\d+)\.", name)
    return int(numbers[0]) if numbers else -1


def _untrained(config, seed: int):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")


def _bridge(source: Source, model, tokenizer) -> TransformerBridge:
    try:
        bridge = TransformerBridge.boot_transformers(
            str(source.folder), hf_model=model, tokenizer=tokenizer, device="cpu"
        )
        bridge.enable_compatibility_mode(disable_warnings=True)
        fused.install(bridge)
    except Exception as error:  # whatever TransformerLens raises for an architecture it cannot wrap
        raise InputError(
            f"{source.name}: TransformerLens cannot wrap a {model.config.model_type} model ({reason(error)})"
        ) from None
    return bridge.eval().requires_grad_(False)


def _placed(bridge: TransformerBridge, device: torch.device, dtype: torch.dtype) -> TransformerBridge:
    """The bridge on its device and in its dtype; only what changes is touched, since each step rebuilds it."""
    with redirect_stdout(io.StringIO()):  # TransformerLens prints where it moves a model
        if device.type != "cpu":
            bridge = bridge.to(device)
        return bridge if dtype == torch.float32 else bridge.to(dtype)


def _probe(vocab_size: int) -> Tensor:
    """Two different sequences of 16 tokens [2, 16] for the load check."""
    return torch.randint(vocab_size, (2, 16), generator=torch.Generator().manual_seed(0))


def _log_probabilities(model, tokens: Tensor) -> Tensor:
    return model(tokens, use_cache=False).logits.log_softmax(-1)


def _check_causal(source: Source, model, probe: Tensor, expected: Tensor) -> None:
    """Changing the last token must not change what is predicted before it."""
    changed = probe.clone()
    changed[:, -1] = (changed[:, -1] + 1) % expected.shape[-1]
    difference = (_log_probabilities(model, changed) - expected).abs().amax(-1)
    if difference[:, :-1].max() > TOLERANCE:
        raise InputError(f"{source.name} looks ahead in the text, so it is no causal decoder: choose a GPT-like one")


def _check_bridge(source: Source, bridge: TransformerBridge, probe: Tensor, expected: Tensor) -> None:
    """Folded model and block-by-block run must both predict what the Hugging Face model predicts."""
    folded = bridge(probe, use_cache=False).log_softmax(-1)
    by_block = blocks.run_order(bridge, probe, range(bridge.cfg.n_layers)).log_softmax(-1)
    for what, actual in (("after folding its norms", folded), ("run block by block", by_block)):
        difference = (actual - expected).abs().max().item()
        if not difference <= TOLERANCE:
            raise InputError(
                f"{source.name} ({bridge.cfg.architecture}) predicts differently {what} "
                f"(log-probabilities off by {difference:.2g}): this architecture is not supported"
            )
