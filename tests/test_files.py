"""Files appear whole or not at all, and the ledger knows what was read and written."""

import errno
import os
from pathlib import Path

import pytest

from helpers import files
from helpers.errors import InputError


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with files.writing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_who_is_reading_the_old_file_does_not_see_it_change(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:
        with files.writing(path) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.fixture
def ledger(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "ledger"
    monkeypatch.setenv(files.LEDGER_VARIABLE, str(path))
    return path


def test_the_ledger_holds_what_was_read_as_it_was_then(ledger, tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("before")
    before = files.sha256(path)
    files.reading(path)
    path.write_text("after")
    files.reading(path)
    missing = files.reading(tmp_path / "missing.txt")
    assert files.read_ledger(ledger).read == {path: before, missing: ""}


def test_what_is_written_and_then_read_back_is_written_only(ledger, tmp_path):
    path = tmp_path / "table.csv"
    for _ in range(2):
        with files.writing(path) as temporary:
            temporary.write_text("1")
        files.reading(path)
    found = files.read_ledger(ledger)
    assert found.written == [path]
    assert found.read == {} and not found.tokens


def test_what_is_read_and_then_written_is_both(ledger, tmp_path):
    path = tmp_path / "table.csv"
    files.reading(path)
    with files.writing(path) as temporary:
        temporary.write_text("1")
    found = files.read_ledger(ledger)
    assert found.written == [path] and found.read == {path: ""}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "Read-only file system"),
        (OSError("4096 requested and 512 written"), "4096 requested and 512 written"),  # as numpy puts it
    ],
)
def test_what_cannot_be_written_is_one_line_that_names_the_file_and_leaves_nothing(error, cause, ledger, tmp_path):
    path = tmp_path / "new" / "table.csv"
    one_line = rf"new/table.csv cannot be written \({cause}\): make room"
    with pytest.raises(InputError, match=one_line), files.writing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert not list(path.parent.iterdir()) and not ledger.exists()


def test_a_folder_in_the_place_of_a_file_is_to_be_removed(tmp_path):
    (tmp_path / "table.csv" / "within").mkdir(parents=True)
    one_line = r"table.csv cannot be written \(.*\): remove it"
    with pytest.raises(InputError, match=one_line), files.writing(tmp_path / "table.csv") as temporary:
        temporary.write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_other_errors_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), files.writing(tmp_path / "table.csv"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_reading_tokens_is_noted(ledger):
    files.reading_tokens()
    assert files.read_ledger(ledger).tokens


def test_without_a_ledger_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.delenv(files.LEDGER_VARIABLE, raising=False)
    monkeypatch.setattr(files, "sha256", lambda path: pytest.fail("hashed for nobody"))
    files.reading(tmp_path / "missing.txt")
    assert list(tmp_path.iterdir()) == []
