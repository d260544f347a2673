"""The text in a column: what every source of documents asks of it."""

from collections.abc import Iterable

from helpers.errors import InputError

COLUMN = "text"
MOST_NAMED = 10


def checked(text: str, where: str) -> str:
    """The same text; ``InputError`` if it holds half of a surrogate pair, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise InputError(f"{where} holds {half}, half of a surrogate pair: write the text in valid Unicode") from None
    return text


def named(columns: Iterable[object]) -> str:
    """The names of columns, for a message: the first few."""
    names = list(map(str, columns))
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
