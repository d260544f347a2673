"""The bundled text: long enough, original throughout, and described truthfully in its README."""

import json
import re

import pytest
import torch

from helpers import metrics, paths

REGISTERS = ("narrative", "letters", "dialogue", "description", "instructions")


@pytest.fixture(scope="module")
def passages() -> list[dict]:
    files = sorted(paths.PASSAGES.glob("*.jsonl"))
    assert {file.stem for file in files} == set(REGISTERS)
    return [json.loads(line) | {"file": file.stem} for file in files for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def pocket(bridges):
    return bridges["pocket"]


@pytest.fixture(scope="module")
def token_ids(passages, pocket) -> list[list[int]]:
    return pocket.tokenizer([passage["text"] for passage in passages], add_special_tokens=False)["input_ids"]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_there_are_enough_passages_each_longer_than_a_window(passages, token_ids):
    assert len(passages) >= 64
    assert min(map(len, token_ids)) > 255
    assert 22_000 < sum(map(len, token_ids)) < 28_000


def test_every_passage_names_its_register_and_most_are_narrative(passages):
    assert all(passage["register"] == passage["file"] and passage["title"] for passage in passages)
    assert sum(passage["register"] == "narrative" for passage in passages) > len(passages) / 2


def test_no_sentence_occurs_twice(passages):
    sentences = [
        " ".join(words(sentence))
        for passage in passages
        for sentence in re.split(r"(?<=[.!?])[\"']?\s+", passage["text"])
        if len(words(sentence)) > 1
    ]
    assert len(sentences) == len(set(sentences))


def test_no_two_passages_share_six_consecutive_words(passages):
    seen: dict[tuple[str, ...], int] = {}
    for number, passage in enumerate(passages):
        spoken = words(passage["text"])
        for start in range(len(spoken) - 5):
            assert seen.setdefault(tuple(spoken[start : start + 6]), number) == number


def test_the_readme_gives_the_loss_of_every_register(passages, token_ids, pocket):
    readme = (paths.PASSAGES / "README.md").read_text()
    for register in REGISTERS:
        ids = [ids[:255] for passage, ids in zip(passages, token_ids, strict=True) if passage["register"] == register]
        tokens = torch.tensor([[pocket.tokenizer.bos_token_id, *window] for window in ids])
        logits = pocket(tokens, use_cache=False)[:, 1:-1]
        loss = metrics.next_token_loss(logits, tokens[:, 2:]).mean().item()
        row = re.search(rf"^\| {register} \| (\d+) \| [\d,]+ \| ([\d.]+) \|$", readme, flags=re.MULTILINE)
        assert row, f"no row for {register}"
        assert int(row[1]) == len(ids)
        assert float(row[2]) == pytest.approx(loss, abs=0.006)
