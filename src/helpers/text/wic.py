"""Word-in-Context files as they are published (Pilehvar and Camacho-Collados, NAACL 2019): pairs of sentences.

``NAME.data.txt`` has one pair a line, tab-separated: the word in its base form, its part of speech, ``i-j``, and
two sentences, whose words are separated by spaces; the word is number i (from 0) of the first and number j of
the second, often inflected. ``NAME.gold.txt`` has T (same sense) or F on the same line. The data are licensed
CC BY-NC 4.0 and are not part of this repository.
"""

import re
from pathlib import Path

import pandas as pd

from helpers import files, paths
from helpers.errors import InputError
from helpers.text.annotated_text import Span

DATA, GOLD = ".data.txt", ".gold.txt"
FIELDS = "word, part of speech, i-j, sentence, sentence"
COLUMNS = ["word", "same", "first", "second", "first_span", "second_span"]


def pairs(place: str | Path) -> pd.DataFrame:
    """The pairs of a data file, or of all data files in a folder and below; columns as ``annotated_text.sense_pairs``.

    Raises ``InputError`` for files that are missing or not in the published form.
    """
    place = paths.absolute(place)
    found = sorted(place.rglob(f"*{DATA}")) if place.is_dir() else [place]
    if not found:
        raise InputError(f"{place}: no file called *{DATA} in it: name the folder with the Word-in-Context files")
    return pd.DataFrame([pair for file in found for pair in _of_file(file)], columns=COLUMNS)


def _of_file(data: Path) -> list[tuple]:
    if not data.name.endswith(DATA):
        raise InputError(f"{data}: a Word-in-Context data file is called *{DATA}: name it, or the folder it is in")
    gold = data.with_name(data.name.removesuffix(DATA) + GOLD)
    examples, labels = _lines(data), _lines(gold)
    if len(examples) != len(labels):
        raise InputError(f"{gold}: {len(labels)} labels for {len(examples)} pairs in {data.name}: one on each line")
    read = []
    for number, (example, label) in enumerate(zip(examples, labels, strict=True), start=1):
        if label.strip() not in ("T", "F"):
            raise InputError(f"{gold}, line {number}: {label!r} is neither T nor F")
        read.append(_pair(example, label.strip() == "T", f"{data}, line {number}"))
    return read


def _lines(file: Path) -> list[str]:
    if not file.exists():
        raise InputError(f"{file}: cannot be read: put the data file and its gold file side by side")
    text = files.read_text(files.reading(files.regular(file)))
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def _pair(example: str, same: bool, where: str) -> tuple:
    fields = example.split("\t")
    numbers = re.fullmatch(r"(\d{1,9})-(\d{1,9})", fields[2].strip()) if len(fields) == 5 else None
    if numbers is None:
        raise InputError(f"{where}: must hold {FIELDS}, separated by tabs")
    first, second = (sentence.rstrip() for sentence in fields[3:])
    spans = [_span(text, int(number), where) for text, number in zip((first, second), numbers.groups(), strict=True)]
    return fields[0].strip().lower(), same, first, second, *spans


def _span(sentence: str, number: int, where: str) -> Span:
    """Where word ``number`` of the sentence begins and ends."""
    words = [word.span() for word in re.finditer(r"\S+", sentence)]
    if number >= len(words):
        raise InputError(f"{where}: word {number} of {len(words)} words in {sentence!r}: counting begins at 0")
    return words[number]
