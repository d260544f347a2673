"""Word-in-Context files are read as published; a file that is not as published is named, with the line."""

import pytest

from helpers.errors import InputError
from helpers.text import annotated_text, wic

LINES = [
    "carry\tV\t2-1\tYou must carry your gear .\tSound carries well over water .",
    "bank\tN\t1-4\tThe bank was shut .\tThey sat on the bank .",
]


def write(folder, name="dev", lines=LINES, labels=("F", "T"), ending="\n"):
    folder.mkdir(exist_ok=True)
    data = folder / f"{name}.data.txt"
    data.write_bytes((ending.join(lines) + ending).encode())
    (folder / f"{name}.gold.txt").write_bytes((ending.join(labels) + ending).encode())
    return data


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_pair_is_its_word_its_label_and_where_the_word_stands_in_either_sentence(ending, tmp_path):
    table = wic.pairs(write(tmp_path, ending=ending))
    assert table["word"].tolist() == ["carry", "bank"]
    assert table["same"].tolist() == [False, True]
    said = [[row[side][slice(*row[f"{side}_span"])] for side in ("first", "second")] for _, row in table.iterrows()]
    assert said == [["carry", "carries"], ["bank", "bank"]]
    assert table.columns.tolist() == annotated_text.sense_pairs().columns.tolist()
    assert table["second"].tolist() == ["Sound carries well over water .", "They sat on the bank ."]


def test_the_number_counts_words_and_not_occurrences(tmp_path):
    line = "bank\tN\t5-0\tbank after bank and the bank .\tbank"
    (pair,) = wic.pairs(write(tmp_path, lines=[line], labels=["T"])).to_dict("records")
    assert pair["first_span"] == (24, 28) and pair["second_span"] == (0, 4)


def test_a_folder_gives_all_of_its_files(tmp_path):
    write(tmp_path / "train", "train"), write(tmp_path / "dev", "dev", LINES[:1], ["T"])
    assert wic.pairs(str(tmp_path))["same"].tolist() == [True, False, True]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("lines", "labels", "message"),
    [
        (LINES, ["T"], "dev.gold.txt: 1 labels for 2 pairs in dev.data.txt"),
        (LINES, ["T", "yes"], "dev.gold.txt, line 2: 'yes' is neither T nor F"),
        ([LINES[0], "bank\tN\t1-4\tonly one"], ["T", "F"], "dev.data.txt, line 2: must hold word, part of speech"),
        ([LINES[0].replace("2-1", "2:1")], ["T"], "dev.data.txt, line 1: must hold"),
        ([LINES[0].replace("2-1", "2-6")], ["T"], "dev.data.txt, line 1: word 6 of 6 words"),
    ],
)
def test_what_is_not_as_published_is_named_in_one_line(lines, labels, message, tmp_path):
    with pytest.raises(InputError, match=message) as refused:
        wic.pairs(write(tmp_path, lines=lines, labels=labels))
    assert "\n" not in str(refused.value)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("place", "message"),
    [("", "no file called"), ("none.data.txt", "cannot be read"), ("pairs.jsonl", "is called"), ("a", "is called")],
)
def test_a_place_without_such_files_is_named_in_one_line(place, message, tmp_path):
    with pytest.raises(InputError, match=message) as refused:
        wic.pairs(tmp_path / place)
    assert "\n" not in str(refused.value)


@pytest.mark.bad_input
def test_data_without_gold_are_refused(tmp_path):
    data = write(tmp_path)
    data.with_name("dev.gold.txt").unlink()
    with pytest.raises(InputError, match=r"dev.gold.txt: cannot be read"):
        wic.pairs(data)
