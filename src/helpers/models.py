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
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from helpers.engine import announced, architectures, checks, fused, placement
from helpers.engine.sources import Source, find
from helpers.errors import InputError, refused

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
    config = architectures.read(source)
    skeleton = architectures.skeleton(config)
    announced.check_size(source, skeleton)
    device_map = None if target else placement.device_map(device, skeleton, DTYPES[dtype])
    tokenizer = _tokenizer(source, config)
    model = _untrained(source, config, seed) if source.untrained else _trained(source, config)
    probe = checks.probe(config.get_text_config().vocab_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with refused(f"{name} cannot be run: its config.json does not go with its weights, save it again"):
            expected = checks.log_probabilities(model.eval(), probe)
        checks.check_causal(source, model, probe, expected)
        bridge = _bridge(source, model, tokenizer)
    checks.check_bridge(source, bridge, probe, expected)
    bridge = _placed(bridge, target or torch.device("cpu"), DTYPES[dtype])
    return placement.dispatch(bridge, device_map) if device_map else bridge


def count_parameters(source: Source) -> int:
    """Parameters of the model as Hugging Face builds it; nothing is loaded."""
    return architectures.skeleton(architectures.read(source)).num_parameters()


def context_limit(bridge: TransformerBridge) -> int:
    """Longest sequence in tokens, BOS included, that the model takes."""
    return int(bridge.cfg.n_ctx)


def _tokenizer(source: Source, config):
    checks.check_tokenizer_file(source)
    with refused(f"{source.name}: the tokenizer does not load, save it into the folder"):
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)
        checks.check_tokenizer(source, tokenizer, config.get_text_config().vocab_size)
    return tokenizer


def _trained(source: Source, config):
    with refused(f"{source.name}: the weights do not load, save it again"):
        model, report = AutoModelForCausalLM.from_pretrained(
            source.folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are refused by name
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    checks.check_weights(source, model, report)
    return model


def _untrained(source: Source, config, seed: int):
    with torch.random.fork_rng(devices=[]), refused(f"{source.name}: config.json cannot be used, save the model again"):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")


def _bridge(source: Source, model, tokenizer) -> TransformerBridge:
    with refused(f"{source.name}: TransformerLens cannot wrap a {model.config.model_type} model"):
        bridge = TransformerBridge.boot_transformers(
            str(source.folder), hf_model=model, tokenizer=tokenizer, device="cpu"
        )
        bridge.enable_compatibility_mode(disable_warnings=True)
        fused.install(bridge)
    return bridge.eval().requires_grad_(False)


def _placed(bridge: TransformerBridge, device: torch.device, dtype: torch.dtype) -> TransformerBridge:
    """The bridge on its device and in its dtype; only what changes is touched, since each step rebuilds it."""
    with redirect_stdout(io.StringIO()):  # TransformerLens prints where it moves a model
        if device.type != "cpu":
            bridge = bridge.to(device)
        return bridge if dtype == torch.float32 else bridge.to(dtype)
