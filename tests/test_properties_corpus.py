"""What is true of the windows of every text, however many documents it has and however long they are."""

import json
from itertools import pairwise

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from helpers import corpus, stats
from helpers.errors import InputError

EOS = 0
WORDS = "the old man read a letter by the river and put it away until the rain had stopped".split()
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join), min_size=1, max_size=12)
TOKENS, CONTEXTS = st.integers(1, 400), st.integers(corpus.SHORTEST_CONTEXT, 40)


@pytest.fixture(scope="module")
def text_of(bridges, tmp_path_factory):
    """Writes documents to a file; gives its name, their tokens joined by EOS, and the document of every token."""
    file = tmp_path_factory.mktemp("text") / "text.jsonl"
    tokenizer = bridges["pocket"].tokenizer

    def write(texts: list[str]) -> tuple[str, list[int], list[int]]:
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf8")
        stream, sources = [], []
        for number, text in enumerate(texts):
            ids = [EOS] * (number > 0) + tokenizer.encode(text, add_special_tokens=False)
            stream += ids
            sources += [number] * len(ids)
        return str(file), stream, sources

    return write


@given(texts=TEXTS, tokens=TOKENS, context=CONTEXTS)
def test_windows_are_bos_and_evenly_spaced_cuts_of_the_joined_documents(texts, tokens, context, bridges, text_of):
    name, stream, sources = text_of(texts)
    length = context - 1
    if len(stream) < length:
        with pytest.raises(InputError, match=f"has {len(stream)} tokens, one sequence needs {length}"):
            corpus.windows(bridges["pocket"], name, tokens, context)
        return
    windows = corpus.windows(bridges["pocket"], name, tokens, context)
    n_windows = min(max(1, tokens // context), len(stream) // length)
    assert windows.shape == (n_windows, context) and windows.dtype == torch.int64
    assert (windows[:, 0] == EOS).all()
    starts = [number * len(stream) // n_windows for number in range(n_windows)]
    assert windows[:, 1:].tolist() == [stream[start : start + length] for start in starts]
    steps = np.diff([*starts, len(stream)])
    assert steps.min() >= length and steps.max() - steps.min() <= 1  # none overlaps another or the end of the text
    documents = corpus.documents_of(bridges["pocket"], name, tokens, context)
    assert documents.tolist() == [[-1, *sources[start : start + length]] for start in starts]


@given(texts=TEXTS, tokens=TOKENS, context=CONTEXTS)
def test_of_a_stream_the_windows_are_its_beginning(texts, tokens, context, bridges, text_of):
    _, stream, sources = text_of(texts)
    length = context - 1
    assume(len(stream) >= length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", lambda *_, **__: iter([{"text": text} for text in texts]))
        windows, documents = (
            cut(bridges["pocket"], "hf:owner/name", tokens, context) for cut in (corpus.windows, corpus.documents_of)
        )
    assert len(windows) == min(max(1, tokens // context), len(stream) // length)
    assert windows[0, 1:].tolist() == stream[:length] and documents[0, 1:].tolist() == sources[:length]
    read = min(len(stream), max(1, tokens // context) * length)
    starts = np.arange(len(windows)) * read // len(windows)
    assert windows[:, 1:].tolist() == [stream[start : start + length] for start in starts]
    assert documents[:, 1:].tolist() == [sources[start : start + length] for start in starts]


@given(texts=TEXTS, tokens=st.tuples(TOKENS, TOKENS).map(sorted), context=CONTEXTS)
def test_asking_for_more_tokens_never_gives_fewer_windows(texts, tokens, context, bridges, text_of):
    name, stream, _ = text_of(texts)
    assume(len(stream) >= context - 1)
    fewer, more = (corpus.windows(bridges["pocket"], name, wanted, context) for wanted in tokens)
    assert len(fewer) <= len(more) <= max(1, tokens[1] // context)
    assert torch.equal(fewer[0], more[0])


@given(text=st.text("ab \n", max_size=60), most=st.integers(1, 12))
def test_a_text_is_cut_in_pieces_before_spaces_and_nothing_is_lost(text, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "CHARACTERS_PER_CALL", most)
        pieces = list(corpus._pieces(text))
        tokenised = corpus._ids(lambda texts, **_: {"input_ids": [list(map(ord, own)) for own in texts]}, [text, "b a"])
    assert tokenised == [list(map(ord, text)), list(map(ord, "b a"))]
    assert "".join(pieces) == text and all(0 < len(piece) <= most for piece in pieces)
    for first, second in pairwise(pieces):
        assert second[0] == " " or (" " not in first[1:] and len(first) == most)


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4).map(sorted), min_size=1, max_size=10))
def test_a_sequence_belongs_to_the_document_that_most_of_it_was_cut_from(own):
    documents = torch.tensor([[-1, *tokens] for tokens in own])
    rows = pd.DataFrame({"sequence": list(range(len(own))) * 2, "x": 0.5})
    main = [min(set(tokens), key=lambda name, tokens=tokens: (-tokens.count(name), name)) for tokens in own]
    with_documents = corpus.with_documents(rows, documents)
    assert with_documents[stats.DOCUMENT].tolist() == main * 2
    assert with_documents[["sequence", "x"]].equals(rows)
