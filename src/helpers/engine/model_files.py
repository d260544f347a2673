"""The files that a checkpoint is made of, looked at before any library opens them.

A checkpoint from the internet may be anything. Its files must be regular ones, within its own folder (the Hub's
cache links to the ``blobs`` beside its snapshots) and no larger than such files are. The weights are one file, or
those that an index names; their headers say what they hold, and nothing else of them is read here.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import safe_open

from helpers import files
from helpers.errors import InputError, refused

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
WEIGHTS = "*.safetensors"
MOST_BYTES = {"config.json": 10**7, "generation_config.json": 10**7}
MOST_BYTES_OF_OTHERS = 2 * 10**8  # the largest tokenizers have a fifth of that
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Held:
    """What the weights files of a model hold, by their headers."""

    n_parameters: int
    n_layers: int


def check(name: str, folder: Path, patterns: Iterable[str], root: Path) -> None:
    """All files of these names are regular, as large as their kind may be, and within ``root``, or ``InputError``."""
    shelves = [root]
    if folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--"):
        shelves.append(folder.parents[1] / "blobs")
    for file in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        with refused(f"{name}: {file.name} is no link that can be followed: put the file there instead"):
            target = file.resolve()
            if not any(target.is_relative_to(shelf) for shelf in shelves):
                raise InputError(f"{name}: {file.name} is a link out of the model's folder: put the file there instead")
            file.stat()
        is_weights = file.match(WEIGHTS)
        files.regular(file, sys.maxsize if is_weights else MOST_BYTES.get(file.name, MOST_BYTES_OF_OTHERS))


def weights(name: str, folder: Path) -> list[Path]:
    """The weights files: the single one if there is one, or else those that the index names. Raises ``InputError``."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index, again = folder / INDEX, "download or save the model again"
    if not index.is_file():
        raise InputError(f"{name} has neither {SINGLE} nor {INDEX}: save it again with save_pretrained")
    with refused(f"{name}: {INDEX} cannot be read, {again}"):
        content = json.loads(files.read_text(index, MOST_BYTES_OF_OTHERS))
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), dict) for key in ("metadata", "weight_map")
    ):
        raise InputError(f"{name}: {INDEX} has no mapping 'weight_map' or 'metadata': {again}")
    names = content["weight_map"].values()
    if strange := [each for each in names if not _is_plain(each)]:
        raise InputError(f"{name}: {INDEX} names {strange[0]!r}, no safetensors file in the model's folder: {again}")
    shards = [folder / each for each in sorted(set(names))]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise InputError(f"{name}: the weights file {missing[0]} is missing: {again}")
    return shards


def held(name: str, weights: Iterable[Path]) -> Held:
    """What weights files hold. Raises ``InputError`` for headers that are damaged or contradict each other."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weights:
        with refused(f"{name}: a weights file is damaged, download or save it again"):
            tensors = list(_tensors(file))
        for tensor, shape, dtype in tensors:
            if tensor in shapes:
                raise InputError(f"{name}: {tensor} is in two weights files; download or save the model again")
            if tensor.endswith("weight") and dtype not in FLOATS:
                raise InputError(f"{name}: {tensor} is stored as {dtype}; choose weights that are not quantised")
            shapes[tensor] = shape
    n_layers = 1 + max(map(layer_of, shapes), default=-1)
    return Held(sum(map(prod, shapes.values())), n_layers)


def layer_of(parameter: str) -> int:
    """The layer a parameter belongs to, by the first number in its name; -1 if there is none."""
    numbers = re.findall(r"\.(\d+)\.", parameter)
    return int(numbers[0]) if numbers else -1


def _is_plain(shard: object) -> bool:
    """The name of a safetensors file, without a folder."""
    return isinstance(shard, str) and bool(shard) and Path(shard).name == shard and Path(shard).match(WEIGHTS)


def _tensors(file: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and dtype of every tensor."""
    with safe_open(file, framework="pt") as opened:
        for tensor in opened.keys():  # noqa: SIM118 (it is no mapping)
            about = opened.get_slice(tensor)
            yield tensor, tuple(about.get_shape()), about.get_dtype()
