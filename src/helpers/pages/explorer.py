"""``explorer.html``: a model on a few sentences, layer by layer, to be played with in any browser.

One file with everything inside: its numbers are computed beforehand, its script is its own, and its content policy
forbids the browser to fetch anything. Shown are the logit lens, every attention pattern, and what each drop and each
swap of neighbours (the paper's layer-wise interventions) does to the next token and to the loss of every token.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import files, models, paths
from helpers.command import run_record
from helpers.pages import markup
from helpers.pages.sentence import GUESSES, LESIONS, Sentence

FILE = "explorer.html"
SENTENCES = (
    "The old man opened the door, and the old man said nothing.",
    '"Where have you been?" she asked. "I have been to London," he said.',
    "When Mary and John went to the shop, John gave the book to Mary.",
    "The disagreeable neighbourhood was unbelievably picturesque.",
    "The capital of France is Paris, and the capital of Italy is Rome.",
)
TEMPLATES = ("explorer.html", "report.css", "explorer.css", "explorer.js")


def update(model: str, device: str, dtype: str, seed: int, file_hashes: Mapping[str, str]) -> Path:
    """Write the model's page into its results, unless the one there was made from the same; the model is loaded here.

    ``file_hashes`` are the sha256 of the files that the model is made of (``Source.file_hashes``).
    """
    file = paths.results(model) / FILE
    made_from = _fingerprint(device, dtype, seed, file_hashes)
    text = file.read_text(encoding="utf8", errors="replace") if file.is_file() else ""
    if not (made_from in text and text.rstrip().endswith("</html>")):
        write(models.load(model, device, dtype, seed), model, SENTENCES, made_from=made_from)
    return file


def write(
    bridge: TransformerBridge,
    model: str,
    sentences: Sequence[str] = SENTENCES,
    file: Path | None = None,
    made_from: str = "",
) -> Path:
    """Write the page of a loaded model, on these or other sentences, to ``file``; without one to its ``explorer.html``.

    ``InputError`` for a sentence that is empty or too long for the model.
    """
    file = file or paths.results(model) / FILE
    content = page(paths.model_folder(model), [Sentence.of(bridge, text) for text in sentences], made_from)
    with files.writing(file) as path:
        path.write_text(content, encoding="utf8")
    return file


def page(name: str, sentences: Sequence[Sentence], made_from: str = "") -> str:
    """The whole document for the model called ``name``."""
    body, *styles, script = (template.read_text(encoding="utf8") for template in _templates())
    n_layers = sentences[0].n_layers
    in_markup = Template(body).substitute(
        model=markup.escape(name),
        n_layers=n_layers,
        last_layer=n_layers - 1,
        data=_inside_script(numbers(sentences) | {"made_from": made_from}),
    )
    return markup.page(f"{name}: one sentence, layer by layer", in_markup, "\n".join(styles), script)


def numbers(sentences: Sequence[Sentence]) -> dict[str, Any]:
    """What the page's script reads. Lists are flat, their last axis runs fastest.

    Guesses are numbers of the page's own ``vocabulary`` with their probabilities in thousandths: row or layer,
    position, rank. ``loss_change``: nats, layer, position from 1. ``attention``: bytes in base64, 255 for all of a
    query's attention: layer, head, query, keys up to the query.
    """
    spelled = pd.concat(table["token"] for each in sentences for table in (each.lens, each.lesioned))
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(spelled))}
    return {
        "n_layers": sentences[0].n_layers,
        "n_heads": sentences[0].n_heads,
        "k": GUESSES,
        "vocabulary": list(vocabulary),
        "sentences": [_of_one(each, vocabulary) for each in sentences],
    }


def _of_one(sentence: Sentence, vocabulary: Mapping[str, int]) -> dict[str, Any]:
    losses, lesioned = sentence.losses, sentence.lesioned
    changes = {name: losses.loc[losses["intervention"] == name, "loss_change_nats"] for name in LESIONS}
    return {
        "text": sentence.text,
        "tokens": sentence.tokens,
        "lens": _guesses(sentence.lens, vocabulary),
        **{name: _guesses(lesioned[lesioned["intervention"] == name], vocabulary) for name in LESIONS},
        "loss_change": {name: [round(float(value), 3) for value in change] for name, change in changes.items()},
        "attention": base64.b64encode(_in_bytes(sentence.patterns)).decode(),
    }


def _guesses(table: pd.DataFrame, vocabulary: Mapping[str, int]) -> dict[str, list[int]]:
    return {
        "token": [vocabulary[token] for token in table["token"]],
        "permille": [round(1000 * probability) for probability in table["probability"]],
    }


def _in_bytes(patterns: Float[Tensor, "layer head query key"]) -> bytes:
    """One byte for each share of attention, without those of keys that come after their query."""
    seen = torch.ones(patterns.shape[-2:], dtype=torch.bool).tril()
    return (255 * patterns[..., seen]).round().to(torch.uint8).numpy().tobytes()


def _inside_script(content: dict[str, Any]) -> str:
    """JSON in which nothing can end the element that it stands in."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _templates() -> list[Path]:
    return [Path(__file__).parent / name for name in TEMPLATES]


def _fingerprint(device: str, dtype: str, seed: int, file_hashes: Mapping[str, str]) -> str:
    """sha256 of all that the page depends on."""
    templates = [files.sha256(template) for template in _templates()]
    parts = [device, dtype, seed, dict(file_hashes), run_record.helpers_hash(), templates, SENTENCES]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
