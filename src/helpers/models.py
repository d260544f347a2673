"""Load any decoder as a ``TransformerBridge`` whose single blocks can be trusted.

Names are an alias of the paper's models, a local folder or a Hub id, with ``@revision``
and ``@untrained`` behind them. The model is loaded in float32 from safetensors, the final norm is
folded into the unembedding, weights that write to the residual stream are centred where the model
uses LayerNorm, the unembedding is centred over the vocabulary (as the authors did), and all of that
is checked against the Hugging Face model before anything is measured. Only then is it cast.
"""

import io
import warnings
from contextlib import redirect_stdout

import torch
from safetensors import SafetensorError
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from helpers.engine import checks, fused, placement
from helpers.engine.sources import Source, find
from helpers.errors import InputError, reason

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

disable_progress_bar()


@torch.no_grad()
def load(name: str, device: str = "auto", dtype: str = "float32", seed: int = 0) -> TransformerBridge:
    """The model called ``name``, ready to be measured: no gradients, eval mode, checked, on ``device``.

    ``seed`` draws the weights of an ``@untrained`` model. Raises ``InputError`` (one line: cause and fix)
    for a model that is not there, gated, broken, no causal decoder, or not run correctly block by block.
    ``device`` may also be a device map, see ``engine.placement``.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    target = None if placement.is_device_map(device) else placement.torch_device(device)
    source = find(name)
    config = _config(source)
    device_map = None if target else placement.device_map(device, _skeleton(config), DTYPES[dtype])
    tokenizer = _tokenizer(source, config)
    model = _untrained(config, seed) if source.untrained else _trained(source, config)
    probe = checks.probe(config.get_text_config().vocab_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = checks.log_probabilities(model.eval(), probe)
        checks.check_causal(source, model, probe, expected)
        bridge = _bridge(source, model, tokenizer)
    checks.check_bridge(source, bridge, probe, expected)
    bridge = _placed(bridge, target or torch.device("cpu"), DTYPES[dtype])
    return placement.dispatch(bridge, device_map) if device_map else bridge


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
    checks.check_config(source, config)
    return config


def _tokenizer(source: Source, config):
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
        checks.check_tokenizer(source, tokenizer, config.get_text_config().vocab_size)
    except InputError:
        raise
    except Exception as error:  # tokenizers raise bare Exceptions
        raise InputError(
            f"{source.name}: the tokenizer does not load, save it into the folder ({reason(error)})"
        ) from None
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
    checks.check_weights(source, model, report)
    return model


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
