"""Tokens as text: what each id of the vocabulary spells, which tokens are one word, which stand between documents.

A word is a run of tokens of letters alone, the first of which begins with a space. Byte-level and
SentencePiece vocabularies mark that space differently; here it is always a space.
"""

from functools import cache

from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.errors import InputError

SENTENCE_PIECE_SPACE = "▁"
SEEN_AS = {" ": "·", "\n": "↵", "\t": "⇥"}


def token_texts(bridge: TransformerBridge) -> list[str]:
    """What every row of the unembedding spells; empty for special tokens and for rows without a token."""
    return list(_token_texts(bridge.tokenizer, bridge.cfg.d_vocab))


def visible_texts(bridge: TransformerBridge, tokens: list[int]) -> list[str]:
    """What tokens spell, with everything in it to be seen; special ones by name, rows without a token by number."""
    texts, name = token_texts(bridge), bridge.tokenizer.convert_ids_to_tokens
    return ["".join(map(_visible, texts[token])) or str(name(token) or f"[{token}]") for token in tokens]


def word_spans(texts: list[str], tokens: Int[Tensor, "pos"]) -> list[tuple[int, int]]:
    """First position and length in tokens of every word of a sequence, in order.

    ``texts`` are those of ``token_texts``. A word that begins or ends a sequence may be cut off there, so
    it counts only if another token follows; what is glued to letters, digits or an apostrophe by other
    tokens ("don't", "3rd") is no word.
    """
    pieces = [texts[token] for token in tokens.tolist()]
    spans = []
    for start, piece in enumerate(pieces):
        if not (piece.startswith(" ") and piece[1:].isalpha()):
            continue
        end = start + 1
        while end < len(pieces) and pieces[end].isalpha():
            end += 1
        if end < len(pieces) and not _goes_on(pieces[end]):
            spans.append((start, end - start))
    return spans


def boundary_tokens(bridge: TransformerBridge) -> tuple[int, int]:
    """BOS and EOS ids: the tokenizer's, else the config's; where there is no BOS, EOS stands in for it."""
    tokenizer, config = bridge.tokenizer, bridge.original_model.config
    bos = _first(tokenizer.bos_token_id, getattr(config, "bos_token_id", None))
    eos = _first(tokenizer.eos_token_id, getattr(config, "eos_token_id", None))
    bos, eos = _first(bos, eos), _first(eos, bos)
    if bos is None or eos is None:
        raise InputError("the model has neither a BOS nor an EOS token: name one in tokenizer_config.json")
    if wrong := {bos, eos} - set(range(bridge.cfg.d_vocab)):
        raise InputError(f"BOS or EOS is {wrong.pop()!r}, which is no token of the model: mend tokenizer_config.json")
    return bos, eos


def _visible(character: str) -> str:
    return SEEN_AS.get(character) or (character if character.isprintable() else repr(character)[1:-1])


def _first(*candidates: int | list[int] | None) -> int | None:
    """The first candidate that is given; of a list of ids its first."""
    given = next((candidate for candidate in candidates if candidate is not None and candidate != []), None)
    return given[0] if isinstance(given, list) else given


def _goes_on(piece: str) -> bool:
    """Whether a token belongs to the word before it although it is not all letters."""
    return bool(piece) and (piece[0].isalnum() or piece[0] in "'’")


@cache
def _token_texts(tokenizer, n_rows: int) -> tuple[str, ...]:
    special = set(tokenizer.all_special_ids)
    texts = []
    for token in range(n_rows):
        spelled = tokenizer.convert_ids_to_tokens(token) if token < len(tokenizer) else None
        if spelled is None or token in special:
            texts.append("")
            continue
        text = tokenizer.decode([token])
        texts.append(f" {text.lstrip()}" if spelled.startswith(SENTENCE_PIECE_SPACE) else text)
    return tuple(texts)
