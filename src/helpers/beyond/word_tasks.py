"""What a probe is asked about words, and what it sees of them: two tasks on rows of the residual stream.

The rows are those of the logit lens: row 0 the embedding, row l what leaves block l - 1. A word is seen as the
vector x at its last token.

- Part of speech: which universal tag has the word? The probe sees x. Neither a word nor a last token is in both
  training and test: those that share one, if only through others, are one group (``linked``).
- Word sense, the question of Word-in-Context (paper, 5.2, figures 7a and 18): has the word the same sense in two
  sentences? The mean of all uses of all words is taken off, the length is set to 1, and the probe sees the
  absolute differences |u_i - u'_i| and the products u_i u'_i: a plane on the two vectors side by side could only add
  what each says alone. A group is a word, so that no word is in both training and test. Beside it stands a cosine
  that learns nothing: that of the two vectors' differences from the mean over all uses of this *word*.

Memory grows as rows x examples x d_model, 4 bytes each: a few hundred MB at a width of 4,096.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from transformer_lens.model_bridge import TransformerBridge

from helpers.beyond import probes, word_uses
from helpers.beyond.word_uses import SIDES
from helpers.errors import InputError
from helpers.text import annotated_text
from helpers.text.annotated_text import MarkedText

PART_OF_SPEECH, WORD_SENSE = "part_of_speech", "word_sense"
FEWEST_EXAMPLES = 20  # of a tag, below which it is left out
MOST_PER_WORD = 10  # examples of one word with one tag: "the" must not decide what a determiner is
FEWEST_USES = 4  # of every word, below which its mean says nothing of the word: of two, they differ oppositely
SAME_VECTOR = 1e-5  # relative length below which a difference is rounding


@dataclass(frozen=True)
class Task:
    """Examples of one question: what a probe sees of them at every row, and what it is to say."""

    name: str
    features: Float[np.ndarray, "row example feature"]
    labels: Shaped[np.ndarray, "example"]
    words: Shaped[np.ndarray, "example"]
    groups: Shaped[np.ndarray, "example"]
    similarity: Float[np.ndarray, "row example"] | None = None

    @property
    def chance(self) -> float:
        """The balanced accuracy of guessing."""
        return 1 / max(1, len(set(self.labels)))


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
        token=[int(text.tokens[row.sentence][row.last]) for row in text.words.itertuples()],
    )
    words = words[[any(map(str.isalpha, word)) for word in words["word"]]]
    words = words.groupby(["word", "tag"]).head(MOST_PER_WORD)
    words = words[words.groupby("tag")["word"].transform("size") >= FEWEST_EXAMPLES]
    groups = linked(*(words[column].to_numpy() for column in ("word", "token")))
    _check(PART_OF_SPEECH, groups, context)
    rows = word_uses.residual_rows(bridge, MarkedText(text.tokens, words), batch_size)
    labels, spelled = (words[column].to_numpy(str) for column in ("tag", "word"))
    return Task(PART_OF_SPEECH, rows, labels, spelled, groups)


def word_senses(bridge: TransformerBridge, pairs: pd.DataFrame, context: int, batch_size: int | str = "auto") -> Task:
    """Pairs of ``annotated_text.sense_pairs`` or ``wic.pairs``, and whether the word has the same sense in both.

    Each use of a word is read once, however many pairs it is in. Pairs beyond a short ``context`` are left out.
    """
    uses, text, pairs = word_uses.of_pairs(bridge, pairs, context)
    words = pairs["word"].to_numpy(str)
    _check(WORD_SENSE, words, context)
    rows = word_uses.residual_rows(bridge, text, batch_size)
    first, second = (pairs[side].to_numpy(int) for side in SIDES)
    enough = uses["word"].value_counts().min() >= FEWEST_USES
    similarity = cosines(rows, uses["word"].to_numpy(str), first, second) if enough else None
    features = differences_and_products(rows, first, second)
    return Task(WORD_SENSE, features, pairs["same"].to_numpy(bool), words, words, similarity)


def linked(*properties: Shaped[np.ndarray, "example"]) -> Int[np.ndarray, "example"]:
    """Groups of examples such that two with any property in common are in one group, if only through others."""
    groups, before = pd.Series(np.arange(len(properties[0]))), None
    while before is None or not groups.equals(before):
        before = groups
        for values in properties:
            groups = groups.groupby(values).transform("min")
    return groups.to_numpy()


def differences_and_products(
    rows: Float[np.ndarray, "row use d_model"], first: Int[np.ndarray, "pair"], second: Int[np.ndarray, "pair"]
) -> Float[np.ndarray, "row pair feature"]:
    """|u - u'| and u u', feature by feature, of the vectors less the mean of all, at length 1; in float32."""
    pairs = []
    for row in rows.astype(float):
        unit = _at_length_one(row - row.mean(0), row)
        both = np.abs(unit[first] - unit[second]), unit[first] * unit[second]
        pairs.append(np.concatenate(both, axis=1).astype(np.float32))
    return np.array(pairs)


def cosines(
    rows: Float[np.ndarray, "row use d_model"],
    words: Shaped[np.ndarray, "use"],
    first: Int[np.ndarray, "pair"],
    second: Int[np.ndarray, "pair"],
) -> Float[np.ndarray, "row pair"]:
    """The cosine of two uses' differences from the mean of all uses of the word; 0 where there is no difference.

    Where the stream knows the word and not its sentence, as in the embedding of a rotary model, all are exactly 0.
    """
    distinct, of_word = np.unique(words, return_inverse=True)
    mean = np.equal.outer(np.arange(len(distinct)), of_word) / np.bincount(of_word)[:, None]
    units = (_at_length_one(row - (mean @ row)[of_word], row) for row in rows.astype(float))
    return np.array([(unit[first] * unit[second]).sum(1) for unit in units])


def _at_length_one(
    vectors: Float[np.ndarray, "use d_model"], compared: Float[np.ndarray, "use d_model"]
) -> Float[np.ndarray, "use d_model"]:
    """The vectors at length 1, and 0 where they are rounding beside those they are ``compared`` with."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    differs = length > SAME_VECTOR * np.linalg.norm(compared, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=differs)


def _check(task: str, groups: Shaped[np.ndarray, "example"], context: int) -> None:
    """Probes need words to learn from and others to be judged on."""
    n_groups = len(set(groups))
    if n_groups < probes.FOLDS:
        raise InputError(
            f"{task}: the sentences hold {n_groups} usable words within {context} tokens, {probes.FOLDS} are needed: "
            "use a model that takes longer sequences, or more sentences"
        )
