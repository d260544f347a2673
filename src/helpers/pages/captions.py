"""What each figure shows, in words: for who reads its caption, and for who cannot see it. From ``captions.yaml``."""

from functools import cache
from typing import NamedTuple

import yaml

from helpers import paths


class Caption(NamedTuple):
    """The sentence under a figure, and what the picture consists of."""

    shown: str
    alternative: str


@cache
def read() -> dict[str, Caption]:
    """The captions by the name of the figure's file."""
    content = yaml.safe_load((paths.HELPERS / "pages" / "captions.yaml").read_text(encoding="utf8"))
    return {stem: Caption(**caption) for stem, caption in content.items()}


def of(stem: str) -> Caption:
    """What the figure in ``stem.svg`` or ``stem.png`` shows; no more than its name where nothing is said of it."""
    name = stem.replace("_", " ")
    return read().get(stem, Caption(f"{name}.".capitalize(), f"A figure named {name}."))
