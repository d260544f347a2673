"""What a reader fills in, read in whatever form it comes: numbers, lists, tensors, series, tables, dictionaries."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch


def is_open(*answers: Any) -> bool:
    """Whether something is left to fill in: three dots or None, also within lists and dictionaries."""
    inner = [list(one.values()) if isinstance(one, dict) else one for one in answers]
    return any(
        is_open(*one) if isinstance(one, list | tuple) and len(one) else one is None or one is Ellipsis for one in inner
    )


def numbers(answer: Any) -> np.ndarray | None:
    """An answer as an array: from a number, list, dictionary, tensor, series or table; None where it has no numbers."""
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    try:
        if isinstance(answer, list | tuple):
            answer = [numbers(one) if isinstance(one, torch.Tensor) else one for one in answer]
        if isinstance(answer, torch.Tensor):
            answer = answer.detach().cpu().double().numpy()
        return np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return None


def matched(answer: Any, expected: Any) -> Any:
    """The answer in the order of the expected labels, where it has the same ones."""
    if isinstance(answer, Mapping) and isinstance(expected, Mapping) and set(answer) == set(expected):
        return {key: answer[key] for key in expected}
    if isinstance(answer, Mapping) and isinstance(expected, pd.Series):
        answer = pd.Series(answer)
    if isinstance(answer, pd.Series) and isinstance(expected, pd.Series) and answer.index.is_unique:
        return answer.reindex(expected.index) if set(answer.index) == set(expected.index) else answer
    if isinstance(answer, pd.DataFrame) and isinstance(expected, pd.DataFrame):
        for axis in (0, 1):
            own, wanted = answer.axes[axis], expected.axes[axis]
            if own.is_unique and set(own) == set(wanted):
                answer = answer.reindex(wanted, axis=axis)
    return answer


def plain(value: Any) -> Any:
    """An entry of a list as a plain value that can be compared and counted."""
    if isinstance(value, tuple | list | np.ndarray):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, np.generic | torch.Tensor) else value
