"""Lesioned models as language models of lm-evaluation-harness (package ``lm_eval``, the optional extra ``benchmarks``).

All lesions are computed when the first of them is asked: every request is tokenised once, and one walk through the
layers answers it for all of them; the others answer from memory. Nothing else in the helpers needs the package.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from helpers.beyond.benchmarks import METRICS
from helpers.beyond.continuations import Request, no_report, score
from helpers.beyond.orders import Lesion
from helpers.errors import InputError, reason
from helpers.models import context_limit
from helpers.text.vocabulary import boundary_tokens

FEWSHOT_SEED = 1234  # the harness's own
NO_TEXT = "generates text, which lesioned models are not asked to: choose tasks scored by log-likelihood"


class LesionedModel(TemplateLM):
    """A model under several ``orders`` of its blocks; it answers as it does under number ``lesion`` of them.

    ``tokenizer`` is the model's own, as Hugging Face loads it: the bridge's would put BOS before every text.
    """

    def __init__(
        self,
        bridge: TransformerBridge,
        tokenizer: PreTrainedTokenizerBase,
        orders: Sequence[tuple[int, ...]],
        batch_size: int | str = "auto",
        report: Callable[[int, int], None] = no_report,
    ) -> None:
        super().__init__()
        self.bridge, self.tokenizer, self.orders = bridge, tokenizer, orders
        self.batch_size, self.report = batch_size, report
        self.lesion = 0
        self._answers: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}  # to a request's text, by lesion

    @property
    def eot_token_id(self) -> int:
        """EOS."""
        return boundary_tokens(self.bridge)[1]

    @property
    def prefix_token_id(self) -> int:
        """BOS: what stands before a text without a context."""
        return boundary_tokens(self.bridge)[0]

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The tokens of a text, with BOS where the tokenizer itself puts it."""
        chosen = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(string, **chosen)

    def loglikelihood(self, requests: list, disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether greedy decoding would give it, under the lesion."""
        super().loglikelihood(self._new(requests), disable_tqdm=disable_tqdm)
        answers = (self._answers[request.args] for request in requests)
        return [(float(likelihood[self.lesion]), bool(greedy[self.lesion])) for likelihood, greedy in answers]

    def loglikelihood_rolling(self, requests: list, disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of each whole text, in windows as long as the model takes, under the lesion."""
        new, windows, text_of = self._new(requests), [], []
        for number, request in enumerate(new):
            ids, limit = self.tok_encode(*request.args), context_limit(self.bridge)
            of_text = list(map(make_disjoint_window, get_rolling_token_windows(ids, self.prefix_token_id, limit, 1)))
            windows.extend(of_text)
            text_of.extend([number] * len(of_text))
        likelihoods, greedy = self._score(windows)
        for number, request in enumerate(new):
            own = np.equal(text_of, number)
            self._answers[request.args] = likelihoods[:, own].sum(axis=1), np.all(greedy[:, own], axis=1)
        return [float(self._answers[request.args][0][self.lesion]) for request in requests]

    def generate_until(self, requests: list, disable_tqdm: bool = True) -> list[str]:
        """Refused."""
        raise InputError(f"task {requests[0].task_name} {NO_TEXT}")

    def _loglikelihood_tokens(self, requests: list, **_: Any) -> list[tuple[float, bool]]:
        likelihoods, greedy = self._score([(context, continuation) for _, context, continuation in requests])
        for number, (text, *_) in enumerate(requests):
            self._answers[text] = likelihoods[:, number], greedy[:, number]
        return []  # ``loglikelihood`` looks them up

    def _new(self, requests: list) -> list:
        """Each request that has not been answered, once."""
        unknown = (request for request in requests if request.args not in self._answers)
        return list({request.args: request for request in unknown}.values())

    def _score(self, requests: list[Request]) -> tuple[np.ndarray, np.ndarray]:
        return score(self.bridge, requests, self.orders, self.batch_size, self.report)


def load_tasks(names: Sequence[str], folder: Path | None = None) -> dict[str, Any]:
    """Tasks of the harness by name, from a ``folder`` of task files of one's own as well; their data is downloaded.

    A prompt has as many worked examples as the task itself asks for: none in those of the paper.
    """
    manager = TaskManager(include_path=folder, include_defaults=False) if folder else None
    if manager is None or not set(names) <= set(manager.all_tasks):
        manager = TaskManager(include_path=folder)  # reads thousands of task files: only where they are needed
    if unknown := [name for name in names if name not in manager.all_tasks]:
        raise InputError(f"lm-evaluation-harness has no task {unknown[0]!r}: `lm-eval ls tasks` lists them")
    try:
        tasks = manager.load(list(names))["tasks"]
    except Exception as error:  # whatever the data's own loading raises
        what = ", ".join(names)
        raise InputError(f"the data of {what} could not be loaded, go online once ({reason(error)})") from None
    for name, task in tasks.items():
        if task.OUTPUT_TYPE == "generate_until":
            raise InputError(f"task {name} {NO_TEXT}")
        if "acc" not in task.aggregation():
            raise InputError(f"task {name} has no accuracy, only {', '.join(task.aggregation())}: choose another")
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(FEWSHOT_SEED)
    return tasks


def sweep(model: LesionedModel, lesions: Sequence[Lesion], tasks: dict[str, Any], limit: int | None) -> pd.DataFrame:
    """Every task under the lesions whose orders ``model`` was given: one row per lesion, task and document.

    Columns: ``layer`` (none of the intact model), ``intervention``, ``task``, ``document``, of which there are at most
    ``limit`` in a task, ``accuracy`` and, where the task has it, ``accuracy_norm``.
    """
    frames = []
    for model.lesion, lesion in enumerate(lesions):
        with redirect_stderr(io.StringIO()):  # a progress bar for every task and lesion
            results = evaluate(model, {"tasks": tasks}, limit=limit, bootstrap_iters=0, log_samples=True)
        keys = {"layer": float("nan") if lesion.layer is None else lesion.layer, "intervention": lesion.intervention}
        for task, documents in results["samples"].items():
            found = {column: name for name, column in METRICS.items() if name in documents[0]}
            values = {column: [float(document[name]) for document in documents] for column, name in found.items()}
            numbers = [document["doc_id"] for document in documents]
            frames.append(pd.DataFrame(keys | {"task": task, "document": numbers} | values))
    return pd.concat(frames, ignore_index=True)
