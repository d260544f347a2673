"""Load any decoder as a ``TransformerBridge`` whose single blocks can be trusted.

Names are an alias of the paper's models, a local folder or a Hub id, with ``@revision``
and ``@untrained`` behind them. The model is loaded in float32 from safetensors, the final norm is
folded into the unembedding, weights that write to the residual stream are centred where the model
uses LayerNorm, the unembedding is centred over the vocabulary (as the authors did), and all of that
is checked against the Hugging Face model before anything is measured. Only then is it cast.
"""

import hashlib
import io
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from helpers import blocks, paths
from helpers.errors import InputError

ALIASES = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "pythia-410m": "EleutherAI/pythia-410m-deduped",
    "pythia-1.4b": "EleutherAI/pythia-1.4b-deduped",
    "pythia-2.8b": "EleutherAI/pythia-2.8b-deduped",
    "pythia-6.9b": "EleutherAI/pythia-6.9b-deduped",
    "phi-1": "microsoft/phi-1",
    "phi-1_5": "microsoft/phi-1_5",
    "phi-2": "microsoft/phi-2",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B",
    "qwen2.5-3b": "Qwen/Qwen2.5-3B",
}
UNTRAINED = "@untrained"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WEIGHTS = "*.safetensors"
NEEDED = ["*.json", WEIGHTS, "*.model", "*.txt", "*.jinja"]
IGNORED = ["*/*", "consolidated*"]
SENTENCE = "The old man read the letter twice, and then he put it away."
TOLERANCE = 1e-4

disable_progress_bar()


@dataclass(frozen=True)
class Source:
    """A model found: the folder that holds its files, and how it is to be used."""

    name: str
    folder: Path
    revision: str | None
    untrained: bool

    def file_hashes(self) -> dict[str, str]:
        """sha256 of the files the model is made of, by name; an untrained twin has no weights of its own."""
        files = sorted(path for pattern in NEEDED for path in self.folder.glob(pattern))
        return {path.name: _sha256(path) for path in files if not (self.untrained and path.match(WEIGHTS))}


@torch.no_grad()
def load(name: str, device: str = "auto", dtype: str = "float32", seed: int = 0) -> TransformerBridge:
    """The model called ``name``, ready to be measured: no gradients, eval mode, checked, on ``device``.

    ``seed`` draws the weights of an ``@untrained`` model. Raises ``InputError`` (one line: cause and fix)
    for a model that is not there, gated, broken, no causal decoder, or not run correctly block by block.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    target = torch_device(device)
    source = find(name)
    config = _config(source)
    tokenizer = _tokenizer(source, config)
    model = _untrained(config, seed) if source.untrained else _trained(source, config)
    probe = _probe(config.get_text_config().vocab_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = _log_probabilities(model.eval(), probe)
        _check_causal(source, model, probe, expected)
        bridge = _bridge(source, model, tokenizer)
    _check_bridge(source, bridge, probe, expected)
    with redirect_stdout(io.StringIO()):  # TransformerLens prints where it moves a model
        return bridge.to(target).to(DTYPES[dtype])


def find(name: str) -> Source:
    """Resolve ``name`` to a local folder, downloading the safetensors of a Hub model where needed."""
    base, suffix = paths.split_model_name(name)
    untrained = suffix.endswith(UNTRAINED)
    revision = suffix.removesuffix(UNTRAINED).removeprefix("@") or None
    if not base:
        raise InputError(f"model name {name!r} is empty: give an alias, a Hub id or a folder")
    folder = Path(base).expanduser()
    if not folder.is_dir() and (paths.BUNDLED_MODELS / base / "config.json").is_file():
        folder = paths.BUNDLED_MODELS / base
    if folder.is_dir():
        folder = _local_revision(base, folder.resolve(), revision)
    elif "/" not in base and base not in ALIASES:
        raise InputError(f"no model {base!r}: not a folder here and not one of {', '.join(['pocket', *ALIASES])}")
    elif base.startswith((".", "/", "~")) or base.count("/") > 1:
        raise InputError(f"no folder {base}: check the path, or give a Hub id such as openai-community/gpt2")
    else:
        folder = _download(ALIASES.get(base, base), revision)
        revision = folder.name
    source = Source(name, folder, revision, untrained)
    _check_files(source)
    return source


def torch_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; raises ``InputError`` for one this machine lacks."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device {device!r} is not available here: use cpu, or auto to choose") from None


def context_limit(bridge: TransformerBridge) -> int:
    """Longest sequence in tokens, BOS included, that the model takes."""
    return int(bridge.cfg.n_ctx)


def _local_revision(base: str, folder: Path, revision: str | None) -> Path:
    if revision is None:
        return folder
    if not (folder / revision / "config.json").is_file():
        known = sorted(path.parent.name for path in folder.glob("*/config.json"))
        raise InputError(f"{base} has no revision {revision}; it has: {', '.join(known) or 'none'}")
    return folder / revision


def _download(hub_id: str, revision: str | None) -> Path:
    at = f"{hub_id}@{revision}" if revision else hub_id
    try:
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=NEEDED, ignore_patterns=IGNORED)
    except GatedRepoError:
        raise InputError(
            f"{at} is gated: ask for access on its page at huggingface.co, then run `hf auth login` or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{hub_id} has no revision {revision}: look at the branches on its Hub page") from None
    except RepositoryNotFoundError:
        raise InputError(f"{at} is not on the Hub (or private): check the spelling, or run `hf auth login`") from None
    except HFValidationError:
        raise InputError(f"{at!r} is neither a folder here nor a Hub id (owner/name)") from None
    except LocalEntryNotFoundError:
        raise InputError(f"{at} is not in the local cache and the Hub cannot be reached: go online once") from None
    except Exception as error:  # the client lets its transport's own exceptions through
        reason = (str(error).strip() or "no details").splitlines()[0]
        raise InputError(f"{at} could not be downloaded, try again ({type(error).__name__}: {reason})") from None
    return Path(folder)


def _check_files(source: Source) -> None:
    if not (source.folder / "config.json").is_file():
        raise InputError(f"{source.name}: no config.json in {source.folder}; point at a Hugging Face model folder")
    if not source.untrained and not any(source.folder.glob(WEIGHTS)):
        pickled = [path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in source.folder.glob(pattern)]
        if pickled:
            raise InputError(
                f"{source.name} has only pickled weights ({pickled[0]}), which can run code when opened: "
                "save it again with save_pretrained (safetensors), or choose a revision that has them"
            )
        raise InputError(f"{source.name}: no weights (*.safetensors) in {source.folder}; download or save it again")


def _config(source: Source):
    try:
        config = AutoConfig.from_pretrained(source.folder)
    except Exception as error:  # a field of the wrong type has an exception of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{source.name}: config.json cannot be used ({reason[:200]})") from None
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(f"{source.name} is a {config.model_type} model, not a causal decoder: choose a GPT-like one")
    return config


def _tokenizer(source: Source, config):
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
        ids = tokenizer(SENTENCE, add_special_tokens=False)["input_ids"]
        decoded = tokenizer.decode(ids)
    except Exception as error:  # tokenizers raise bare Exceptions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{source.name}: the tokenizer does not load, save it into the folder ({reason[:200]})"
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
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{source.name}: the weights do not load, save it again ({reason[:200]})") from None
    absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if absent:
        raise InputError(
            f"{source.name}: {len(absent)} parameters are not in the weights file (first: {absent[0]}); "
            "save the whole causal language model, head included"
        )
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
    except Exception as error:  # whatever TransformerLens raises for an architecture it cannot wrap
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{source.name}: TransformerLens cannot wrap a {model.config.model_type} model ({reason[:160]})"
        ) from None
    return bridge.eval().requires_grad_(False)


def _probe(vocab_size: int) -> Tensor:
    """Two different sequences of 16 tokens [2, 16] for the load check."""
    return torch.randint(vocab_size, (2, 16), generator=torch.Generator().manual_seed(0))


def _log_probabilities(model, tokens: Tensor) -> Tensor:
    return model(tokens, use_cache=False).logits.log_softmax(-1)


def _check_causal(source: Source, model, probe: Tensor, expected: Tensor) -> None:
    """Changing the last token must not change what is predicted before it, and must change what follows."""
    if not expected.isfinite().all():
        raise InputError(f"{source.name}: its predictions are not finite; the weights are damaged, download them again")
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
