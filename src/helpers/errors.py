"""The one exception for input that a user can mend: its message is a single line that names cause and fix."""

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 1000  # characters of a message; of a longer one the middle is left out
LEFT_OUT = " [...] "
LONGEST_REASON = 200


class InputError(ValueError):
    """A model, text or option that cannot be used as given."""

    def __init__(self, message: str) -> None:
        line = _visible(" ".join(str(message).split()))
        half = (LONGEST - len(LEFT_OUT)) // 2
        super().__init__(line if len(line) <= LONGEST else f"{line[:half]}{LEFT_OUT}{line[-half:]}")


def reason(error: BaseException) -> str:
    """The first line of what another library says went wrong (with the next, if it ends in a colon), for use within
    a message of our own."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return said if len(said) <= LONGEST_REASON else f"{said[: LONGEST_REASON - 3]}..."


@contextmanager
def refused(message: str) -> Iterator[None]:
    """Whatever is raised within becomes an ``InputError``: ``message``, and the reason in brackets.

    For other libraries that are given what a user has given: they raise exceptions of every kind, those that are
    written in Rust even ones that are no ``Exception``.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise InputError(f"{message} ({reason(error)})") from None


def _visible(text: str) -> str:
    """Control characters and halves of surrogate pairs are spelled out: a file's name may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
