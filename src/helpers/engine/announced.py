"""What a model announces in ``config.json``: believed only as far as its weights files bear it out, and before
anything of it is allocated."""

import json

import psutil
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig, PreTrainedModel

from helpers import files
from helpers.engine import model_files
from helpers.engine.sources import CONFIG, Source
from helpers.errors import InputError, refused

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings")
MOST_LAYERS = 1000  # the deepest decoders have an eighth of that


def check_description(source: Source) -> None:
    """It is of an architecture whose code is at hand, and of a whole model in floating point. Raises ``InputError``."""
    with refused(f"{source.name}: {CONFIG} cannot be read, download or save the model again"):
        content = json.loads(files.read_text(source.folder / CONFIG))
    if not isinstance(content, dict):
        raise InputError(f"{source.name}: {CONFIG} is no mapping, download or save the model again")
    model_type = content.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        own = "; code of a model's own is never run" if "auto_map" in content else ""
        raise InputError(f"{source.name}: {CONFIG} has no model_type that is known here ({model_type!r}){own}")
    if content.get("quantization_config"):
        raise InputError(f"{source.name} is quantised: choose its weights in bfloat16, float16 or float32")
    if content.get("transformers_weights"):
        raise InputError(f"{source.name}: {CONFIG} names other weights files; call them {model_files.SINGLE}")
    if (source.folder / "adapter_config.json").exists():
        raise InputError(f"{source.name} is an adapter of another model: merge it, and save the whole model")


def check_config(source: Source, config: PreTrainedConfig) -> None:
    """It describes a causal decoder, and its sizes are sizes. Raises ``InputError``."""
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(f"{source.name} is a {config.model_type} model, not a causal decoder: choose a GPT-like one")
    decoder = config.get_text_config()
    for key in SIZES:
        size = getattr(decoder, key, None)
        if size is not None and (not isinstance(size, int) or size < 1):
            raise InputError(f"{source.name}: {CONFIG} says that {key} is {size}: mend it")
    if decoder.num_hidden_layers > MOST_LAYERS:
        announced = f"{decoder.num_hidden_layers:,} layers, more than {MOST_LAYERS:,}"
        raise InputError(f"{source.name}: {CONFIG} announces {announced}: mend num_hidden_layers")


def check_size(source: Source, skeleton: PreTrainedModel) -> None:
    """The weights files hold what is announced, and it fits into memory in float32. Raises ``InputError``.

    A model that lacks a part is left to ``checks.check_weights``, which names it: half of what is announced will do.
    """
    n_parameters, n_layers = skeleton.num_parameters(), skeleton.config.get_text_config().num_hidden_layers
    if not source.untrained:
        weights = model_files.weights(source.name, source.folder)
        _check_memory(source, sum(file.stat().st_size for file in weights))
        held = model_files.held(source.name, weights)
        if n_layers > held.n_layers or n_parameters > 2 * held.n_parameters:
            raise InputError(
                f"{source.name}: {CONFIG} announces {n_layers:,} layers and {n_parameters:,} parameters, its weights "
                f"files hold {held.n_layers:,} and {held.n_parameters:,}: download or save the model again"
            )
    _check_memory(source, 4 * n_parameters)


def _check_memory(source: Source, n_bytes: int) -> None:
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if n_bytes > free:
        raise InputError(
            f"{source.name} needs {n_bytes / 1e9:,.1f} GB of memory, {free / 1e9:,.1f} GB are free: "
            "choose a smaller model, or free some memory"
        )
