"""Documents of a data set on the Hub, ``NAME[,CONFIG][:COLUMN]``, split train, read as far as they are needed."""

import logging
import re
from collections.abc import Iterator

from helpers.engine import hub
from helpers.errors import InputError, refused
from helpers.text.columns import COLUMN, checked, named

ATTEMPTS, PAUSE = 2, 1  # of reading on, each with the client's own five attempts; seconds


def texts(name: str) -> Iterator[str]:
    """The texts; missing and blank ones are passed over. Raises ``InputError``."""
    match = re.fullmatch(r"(?P<name>[^,:]+)(?:,(?P<config>[^:]+))?(?::(?P<column>.+))?", name)
    if match is None:
        raise InputError(f"corpus hf:{name} is not of the form hf:NAME[,CONFIG][:COLUMN]")
    column, where = match["column"] or COLUMN, f"hf:{name}"
    with refused(f"{where} cannot be read; check the name and the network"):
        for row in _rows(match["name"], match["config"]):
            if column not in row:
                raise InputError(f"{where} has no column {column!r} (it has: {named(row)}): use hf:NAME:COLUMN")
            text = row[column]
            if not isinstance(text, str | None):
                raise InputError(f"{where}: column {column!r} holds {type(text).__name__}, not text; give another one")
            if text and text.strip():
                yield checked(text, where)


def _rows(name: str, config: str | None) -> Iterator[dict]:
    import datasets  # takes seconds, and only this source needs it

    datasets.disable_progress_bars()
    for library in ("datasets", "huggingface_hub"):  # their retries; the failure itself is reported
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for what in ("STREAMING_OPEN", "STREAMING_READ"):
        setattr(datasets.config, f"{what}_MAX_RETRIES", ATTEMPTS)
    for what in ("OPEN", "READ", "READ_SERVER_UNAVAILABLE", "READ_RATE_LIMIT"):
        setattr(datasets.config, f"STREAMING_{what}_RETRY_INTERVAL", PAUSE)
    hub.limit_waiting()
    try:
        yield from datasets.load_dataset(name, config, split="train", streaming=True)
    except ConnectionError as error:  # of the library's own, which says less than its cause
        raise error.__cause__ or error from None
