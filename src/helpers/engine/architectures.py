"""A model before it has weights: its configuration, and the modules that follow from it.

The paper's models are known offline, from ``reference/architectures.yaml``; a revision or an untrained twin has its
model's architecture. Of any other model on the Hub ``config.json`` alone is downloaded.
"""

from functools import cache
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from helpers import paths
from helpers.engine import announced, sources
from helpers.engine.sources import Source
from helpers.errors import refused

KNOWN = paths.REFERENCE / "architectures.yaml"


def config_of(name: str) -> PreTrainedConfig:
    """The configuration of the model called ``name``. Raises ``InputError`` for one that cannot be had."""
    base, _ = paths.split_model_name(name)
    hub_id = sources.ALIASES.get(base, base)
    if hub_id in known() and not paths.is_model_folder(base):
        return AutoConfig.for_model(**known()[hub_id])
    return read(sources.find(name, config_only=True))


def read(source: Source) -> PreTrainedConfig:
    """The configuration in a model's folder; ``InputError`` if it does not describe a causal decoder."""
    announced.check_description(source)
    with refused(f"{source.name}: config.json cannot be used, download or save the model again"):
        config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)
    announced.check_config(source, config)
    return config


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """The Hugging Face model without its weights: its parameters have shapes and no values.

    Raises ``InputError`` for a configuration of which no model can be built.
    """
    again = f"{config.name_or_path}: config.json cannot be used, download or save the model again"
    with refused(again), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager", trust_remote_code=False)


@cache
def known() -> dict[str, dict[str, Any]]:
    """The sizes of the paper's models by Hub id: what ``AutoConfig.for_model`` takes."""
    models = yaml.safe_load(KNOWN.read_text(encoding="utf8")).values()
    return {model["source"]: {key: value for key, value in model.items() if key != "source"} for model in models}
