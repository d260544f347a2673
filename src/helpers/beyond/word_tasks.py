"""What a probe is asked about words, and what it sees of them: two tasks on rows of the residual stream.

The rows are those of the logit lens: row 0 the embedding, row l what leaves block l - 1. A word is seen as the
vector x at its last token.

- Part of speech: which universal tag has the word? The probe sees x.
- Word sense: has the word the same sense in two sentences? From x the mean over all sentences with that word
  is taken off, which leaves what the sentence has made of it, and the length is set to 1. The probe sees the
  products u_i u'_i of two such vectors. Their plain sum is the cosine, which needs no training and is kept
  beside, so the probe can only learn which features count. Where the stream knows the word and not its
  sentence, as in the embedding of a rotary model, all of it is exactly 0.

Memory grows as rows x examples x d_model, 4 bytes each: a few hundred MB at a width of 4,096.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from transformer_lens.model_bridge import TransformerBridge

from helpers.beyond import probes
from helpers.engine import streams
from helpers.errors import InputError
from helpers.text import annotated_text
from helpers.text.annotated_text import MarkedText

PART_OF_SPEECH, WORD_SENSE = "part_of_speech", "word_sense"
SIDES = ("first", "second")
FEWEST_EXAMPLES = 20  # of a tag, below which it is left out
MOST_PER_WORD = 10  # examples of one word with one tag: "the" must not decide what a determiner is
SAME_VECTOR = 1e-5  # relative length below which a difference is rounding


@dataclass(frozen=True)
class Task:
    """Examples of one question: what a probe sees of them at every row, and what it is to say."""

    name: str
    features: Float[np.ndarray, "row example feature"]
    labels: Shaped[np.ndarray, "example"]
    words: Shaped[np.ndarray, "example"]
    similarity: Float[np.ndarray, "row example"] | None = None

    @property
    def chance(self) -> float:
        """The balanced accuracy of guessing."""
        return 1 / max(1, len(set(self.labels)))


def residual_rows(
    bridge: TransformerBridge, text: MarkedText, batch_size: int | str = "auto"
) -> Float[np.ndarray, "row word d_model"]:
    """Every row of the residual stream at the last token of every marked word, in float32."""
    sentences, positions = (torch.tensor(text.words[column].to_numpy(copy=True)) for column in ("sentence", "last"))
    return streams.at_places(bridge, text.tokens, sentences, positions, batch_size).numpy()


def parts_of_speech(
    bridge: TransformerBridge, sentences: pd.DataFrame, context: int, batch_size: int | str = "auto"
) -> Task:
    """Words of ``annotated_text.tagged_sentences`` and their tags, at most ``MOST_PER_WORD`` of each word and tag.

    Left out are tokens without a letter, and tags with fewer than ``FEWEST_EXAMPLES``.
    """
    text = annotated_text.mark(bridge, sentences["text"].tolist(), sentences["spans"].tolist(), context)
    pairs = list(zip(text.words["sentence"], text.words["mark"], strict=True))
    words = text.words.assign(
        word=[sentences["words"].iloc[sentence][number].lower() for sentence, number in pairs],
        tag=[sentences["tags"].iloc[sentence][number] for sentence, number in pairs],
    )
    words = words[[any(map(str.isalpha, word)) for word in words["word"]]]
    words = words.groupby(["word", "tag"]).head(MOST_PER_WORD)
    words = words[words.groupby("tag")["word"].transform("size") >= FEWEST_EXAMPLES]
    _check(PART_OF_SPEECH, words, context)
    rows = residual_rows(bridge, MarkedText(text.tokens, words), batch_size)
    return Task(PART_OF_SPEECH, rows, *(words[column].to_numpy(str) for column in ("tag", "word")))


def word_senses(bridge: TransformerBridge, pairs: pd.DataFrame, context: int, batch_size: int | str = "auto") -> Task:
    """Pairs of ``annotated_text.sense_pairs``: ``agreement`` of the word's vectors, and whether it has the same sense.

    Each sentence is read once, however many pairs it is in. A word of which a short ``context`` leaves only
    pairs of one kind is left out.
    """
    pairs = pairs.assign(word=pairs["word"].str.lower())
    sides = [pairs[["word", side, f"{side}_span"]].set_axis(["word", "text", "span"], axis=1) for side in SIDES]
    uses = pd.concat(sides).drop_duplicates(["word", "text"], ignore_index=True)
    text = annotated_text.mark(bridge, uses["text"].tolist(), [[span] for span in uses["span"]], context)
    uses = uses.loc[text.words["sentence"]].reset_index(drop=True)
    number = pd.Series(uses.index, pd.MultiIndex.from_frame(uses[["word", "text"]]))
    ends = {side: number.reindex(pd.MultiIndex.from_frame(pairs[["word", side]])).to_numpy() for side in SIDES}
    pairs = pairs.assign(**ends).dropna(subset=list(SIDES))
    pairs = pairs[pairs.groupby("word")["same"].transform("nunique") == 2]
    _check(WORD_SENSE, pairs, context)
    rows = residual_rows(bridge, text, batch_size)
    first, second = (pairs[side].to_numpy(int) for side in SIDES)
    features = agreement(rows, uses["word"].to_numpy(str), first, second)
    labels, words = pairs["same"].to_numpy(bool), pairs["word"].to_numpy(str)
    return Task(WORD_SENSE, features, labels, words, similarity=features.sum(-1))


def agreement(
    rows: Float[np.ndarray, "row use d_model"],
    words: Shaped[np.ndarray, "use"],
    first: Int[np.ndarray, "pair"],
    second: Int[np.ndarray, "pair"],
) -> Float[np.ndarray, "row pair d_model"]:
    """The products, feature by feature, whose sum is the cosine of two uses of a word.

    A use is its difference from the mean of all uses of the word, at length 1, or 0 where there is none.
    """
    distinct, of_word = np.unique(words, return_inverse=True)
    mean = np.equal.outer(np.arange(len(distinct)), of_word) / np.bincount(of_word)[:, None]
    products = []
    for row in rows.astype(float):
        deviation = row - (mean @ row)[of_word]
        length = np.linalg.norm(deviation, axis=1, keepdims=True)
        differs = length > SAME_VECTOR * np.linalg.norm(row, axis=1, keepdims=True)
        unit = np.divide(deviation, length, out=np.zeros_like(deviation), where=differs)
        products.append(unit[first] * unit[second])
    return np.array(products)


def _check(task: str, examples: pd.DataFrame, context: int) -> None:
    """Probes need words to learn from and others to be judged on."""
    n_words = examples["word"].nunique()
    if n_words < probes.FOLDS:
        raise InputError(
            f"{task}: the sentences hold {n_words} usable words within {context} tokens, {probes.FOLDS} are needed: "
            "use a model that takes longer sequences, or more sentences"
        )
