"""Is a word put together? What the residual of a word's last piece says about the whole word, before every layer.

Two tests. *Words of several tokens* (``tell_apart``): among all places where the same piece ends a word, is
the residual nearest to it one where it ends the same word? The pieces look alike; only what was gathered
tells the words apart. *Words of one token, spelled in two* (``spell``, after Kaplan et al., *From Tokens to
Words: On the Inner Lexicon of LLMs*, ICLR 2025): does the last piece turn into the word as the model knows
it? It is decoded by the nearest input embedding among those of all words of the vocabulary, and by the
nearest residual, at the same depth, of one-token words in other places. Nearest is by cosine, among
residuals after their mean is taken off.
"""

import math

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.beyond.nearest import by_embedding, by_neighbour
from helpers.engine import streams
from helpers.text.spelled_words import contexts, examples, words
from helpers.text.vocabulary import word_spans

MOST_PLACES = 2048
ENDINGS = {"whole": ["token"], "spelled": ["first", "last"], "wrong_start": ["wrong_first", "last"]}
SPELLINGS = ("several_tokens", *ENDINGS, "gain")
MEASURES = ("neighbour", "neighbour_chance", "embedding", "embedding_rank", "embedding_chance")
SPELLING_KEYS = ("layer", "spelling")


def sweep(bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], texts: list[str]) -> pd.DataFrame:
    """The rows of ``tell_apart`` and of ``spell``; ``texts`` are those of ``vocabulary.token_texts``."""
    return pd.concat([tell_apart(bridge, tokens, texts), spell(bridge, tokens, texts)], ignore_index=True)


def summarise(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Means with intervals of every depth and spelling: over sequences, or over the words that were spelled."""
    parts = [stats.summarise(part, keys=SPELLING_KEYS, seed=seed) for _, part in rows.groupby("spelling", sort=False)]
    return pd.concat(parts, ignore_index=True)


def tell_apart(bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], texts: list[str]) -> pd.DataFrame:
    """Words of several tokens told apart from others with the same last piece: one row per sequence and depth.

    ``layer`` counts as in the logit lens, 0 .. n_layers; ``spelling`` is ``several_tokens``. ``neighbour``:
    share of words whose nearest residual in another sequence belongs to the same word (equally near ones
    count in part), ``neighbour_chance`` that of a random pick. A word counts if the other sequences have
    both the same word and another one that ends in the same piece. At most ``MOST_PLACES`` words are used,
    those of the first sequences. NaN where no word counts.
    """
    places = _endings(texts, tokens)
    sequence, pos, last, word = (torch.tensor(places[column].to_numpy()) for column in places)
    allowed = (last == last[:, None]) & (sequence != sequence[:, None])
    right = allowed & (word == word[:, None])
    counts = right.any(1) & (allowed & ~right).any(1)
    if not counts.any():
        return _nothing(bridge, ["several_tokens"])
    frames = []
    residuals = streams.at_places(bridge, tokens[: sequence.max() + 1], sequence, pos)
    for layer, residual in enumerate(residuals):
        measures = by_neighbour(residual[counts], residual, allowed[counts], right[counts])
        values = {name: measure.double() for name, measure in measures.items()}
        rows = pd.DataFrame({"sequence": sequence[counts], **values})
        frames.append(rows.groupby("sequence", as_index=False).mean().assign(layer=layer, spelling="several_tokens"))
    return pd.concat(frames, ignore_index=True)


def spell(bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], texts: list[str]) -> pd.DataFrame:
    """What the end of each word of ``spelled_words.examples`` decodes to: one row per word, depth and spelling.

    Spellings: ``whole``, the word as one token, the most that can be expected; ``spelled`` in two;
    ``wrong_start``, the same last piece after another first; ``gain``, spelled minus wrong start.
    ``neighbour`` and ``embedding``: 1 where the word is what the residual decodes to; ``embedding_rank``: the
    share of words whose embedding is nearer than the word's (chance: 1/2); ``_chance``: the share of right
    answers among all. ``sequence`` numbers the words. NaN where the text has no words to spell.
    """
    chosen = examples(texts, tokens)
    if chosen.empty:
        return _nothing(bridge, [*ENDINGS, "gain"])
    targets = torch.tensor(chosen["token"].to_numpy())
    others = chosen[["token", "others"]].explode("others")
    owners = torch.tensor(others["token"].to_numpy())
    reference = _last_residuals(bridge, torch.cat([contexts(tokens, list(others["others"])), owners[:, None]], dim=1))
    right = owners == targets[:, None]
    candidates = torch.tensor(words(texts))
    embeddings = bridge.W_E[candidates.to(bridge.W_E.device)].float().cpu()
    is_word = candidates == targets[:, None]
    before = contexts(tokens, list(zip(chosen["sequence"], chosen["pos"], strict=True)))
    measured: dict[str, list[dict[str, Tensor]]] = {}  # by spelling and layer
    for spelling, columns in ENDINGS.items():
        ending = torch.tensor(chosen[columns].to_numpy().tolist())
        residuals = _last_residuals(bridge, torch.cat([before, ending], dim=1))
        measured[spelling] = [
            by_neighbour(residual, known, torch.ones_like(right), right) | by_embedding(residual, embeddings, is_word)
            for residual, known in zip(residuals, reference, strict=True)
        ]
    pairs = zip(measured["spelled"], measured["wrong_start"], strict=True)
    measured["gain"] = [{name: spelled[name] - wrong[name] for name in MEASURES} for spelled, wrong in pairs]
    frames = [
        stats.rows(0, measures, layer=layer, spelling=spelling)
        for spelling, layers in measured.items()
        for layer, measures in enumerate(layers)
    ]
    return pd.concat(frames, ignore_index=True)


def _endings(texts: list[str], tokens: Int[Tensor, "sequence pos"]) -> pd.DataFrame:
    """Where words of several tokens end: ``sequence``, ``pos``, the ``last`` piece, and a number for the ``word``."""
    numbers: dict[tuple[int, ...], int] = {}
    rows = []
    for sequence, row in enumerate(tokens.tolist()):
        for start, length in word_spans(texts, tokens[sequence]):
            if length > 1:
                word = tuple(row[start : start + length])
                rows.append((sequence, start + length - 1, word[-1], numbers.setdefault(word, len(numbers))))
    return pd.DataFrame(rows[:MOST_PLACES], columns=["sequence", "pos", "last", "word"], dtype="int64")


def _last_residuals(bridge: TransformerBridge, tokens: Int[Tensor, "text pos"]) -> Float[Tensor, "layer text d_model"]:
    """The residual of the last position of every text, at every depth."""
    n_texts, context = tokens.shape
    return streams.at_places(bridge, tokens, torch.arange(n_texts), torch.full((n_texts,), context - 1))


def _nothing(bridge: TransformerBridge, spellings: list[str]) -> pd.DataFrame:
    """The table of a text without words to measure: one row per depth and spelling, all measures NaN."""
    measures = dict.fromkeys(MEASURES[:2] if len(spellings) == 1 else MEASURES, torch.tensor([math.nan]))
    keys = [(layer, spelling) for spelling in spellings for layer in range(bridge.cfg.n_layers + 1)]
    frames = [stats.rows(0, measures, layer=layer, spelling=spelling) for layer, spelling in keys]
    return pd.concat(frames, ignore_index=True)
