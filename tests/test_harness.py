"""Lesioned models asked by lm-evaluation-harness, against the raw model asked by hand, one answer at a time."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import make_checkpoint, save
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import models, tables
from helpers.beyond import benchmarks, continuations, orders
from helpers.command import benchmarks as command
from helpers.errors import InputError
from reference import RawModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("lm_eval.evaluator", reason="the extra `benchmarks` is not installed")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from helpers.beyond import harness

TASKS = Path(__file__).parent / "tasks"
PLACES = [json.loads(line) for line in (TASKS / "places.jsonl").read_text().splitlines()]
LESIONS = orders.lesions(4, ["drop", "swap", "repeat_3"])
KINDS = ("gpt2", "llama")  # the second has a BOS; tests/test_continuations.py has all


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path) -> Path:
    """The tasks, with data that only this test sees; nothing goes to the user's cache."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    for file in TASKS.iterdir():
        (folder / file.name).write_text(file.read_text().replace("FOLDER", str(folder)))
    return folder


def model_and_tokenizer(checkpoint: Path) -> tuple[RawModel, object]:
    return RawModel(checkpoint), AutoTokenizer.from_pretrained(checkpoint)


def last_words(raw: RawModel, tokenizer) -> list[dict[str, str]]:
    """Questions, and as their last word the first guess of the raw model under one lesion or another."""
    documents = []
    for number, place in enumerate(PLACES * 2):
        context = f"{place['question']} It is {'very ' * (number % 3)}far"
        ids = tokenizer.encode(context)
        with raw.running(list(LESIONS[number % len(LESIONS)].order)):
            guess = int(raw.log_probabilities(torch.tensor(ids))[-1].argmax())
        last = tokenizer.decode([guess])
        if last.strip() and tokenizer.encode(context + last) == [*ids, guess]:
            documents.append({"context": context, "last": last})
    return documents


def asked_by_hand(raw: RawModel, ids: list[int], n_context: int) -> tuple[float, bool]:
    """Log-likelihood of what follows the context, and whether it is the model's first guess at every place."""
    predicted = raw.log_probabilities(torch.tensor(ids))
    places = range(n_context, len(ids))
    likelihood = sum(float(predicted[place - 1, ids[place]]) for place in places)
    return likelihood, all(int(predicted[place - 1].argmax()) == ids[place] for place in places)


def by_hand(raw: RawModel, tokenizer, last: list[dict[str, str]]) -> pd.DataFrame:
    """Both tasks under every lesion, slowly."""
    rows = []
    for lesion in LESIONS:
        keys = {"intervention": lesion.intervention, "layer": lesion.layer}
        with raw.running(list(lesion.order)):
            for number, document in enumerate(PLACES):
                prompt = f"Question: {document['question']}\nAnswer:"
                n_context = len(tokenizer.encode(prompt))
                answers = [f"{prompt} {choice}" for choice in document["choices"]]
                scores = [asked_by_hand(raw, tokenizer.encode(answer), n_context)[0] for answer in answers]
                normalised = [score / len(choice) for score, choice in zip(scores, document["choices"], strict=True)]
                right = {
                    "accuracy": scores.index(max(scores)) == document["gold"],
                    "accuracy_norm": normalised.index(max(normalised)) == document["gold"],
                }
                rows.append(keys | {"task": "places", "document": number} | right)
            for number, document in enumerate(last):
                ids = tokenizer.encode(document["context"] + document["last"])
                _, greedy = asked_by_hand(raw, ids, len(tokenizer.encode(document["context"])))
                rows.append(keys | {"task": "last_word", "document": number, "accuracy": greedy})
    return pd.DataFrame(rows).astype({"accuracy": float, "accuracy_norm": float, "layer": float})


def write(folder: Path, documents: list[dict[str, str]]) -> None:
    (folder / "last_word.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))


def lesioned(bridge, tokenizer, lesions=LESIONS) -> "harness.LesionedModel":
    return harness.LesionedModel(bridge, tokenizer, [lesion.order for lesion in lesions])


def test_every_document_is_judged_as_by_hand_under_every_lesion(kind, bridges, checkpoints, folder):
    raw, tokenizer = model_and_tokenizer(checkpoints[kind])
    last = last_words(raw, tokenizer)
    write(folder, last)
    tasks = harness.load_tasks(["places", "last_word"], folder)
    found = harness.sweep(lesioned(bridges[kind], tokenizer), LESIONS, tasks, limit=None)
    expected = by_hand(raw, tokenizer, last)
    keys = ["intervention", "layer", "task", "document"]
    pd.testing.assert_frame_equal(
        found.sort_values(keys, ignore_index=True), expected.sort_values(keys, ignore_index=True), check_like=True
    )
    shares = found.groupby("task")["accuracy"].mean()
    assert shares.between(0.05, 0.95).all(), "a task that is always or never right tests nothing"
    assert found.groupby(["task", "document"])["accuracy"].nunique().max() == 2, "no lesion changes an answer"


def test_the_command_writes_the_table_that_follows_by_hand(checkpoints, folder, output, capsys):
    raw, tokenizer = model_and_tokenizer(checkpoints["gpt2"])
    last = last_words(raw, tokenizer)
    write(folder, last)
    arguments = ["--tasks", "places,last_word", "--include-path", str(folder), "--interventions", "drop,swap,repeat_3"]
    status = command.main(["--model", str(checkpoints["gpt2"]), *arguments])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    path = Path(printed.out.strip())
    assert path.name == "benchmarks.csv" and path.is_relative_to(output)
    table = tables.load("benchmarks", str(checkpoints["gpt2"]))
    rows = by_hand(raw, tokenizer, last)
    intact = rows[rows["intervention"] == "intact"]
    assert len(table) == 2 * len(LESIONS)
    assert table["layer"].isna().sum() == 2
    for _, line in table.iterrows():
        same = (rows["intervention"] == line["intervention"]) & (rows["task"] == line["task"])
        same &= rows["layer"].isna() if np.isnan(line["layer"]) else rows["layer"] == line["layer"]
        own, whole = rows[same]["accuracy"].to_numpy(), intact[intact["task"] == line["task"]]["accuracy"].to_numpy()
        root = np.sqrt(len(own))
        assert line["documents"] == len(own)
        assert line["accuracy"] == pytest.approx(own.mean(), abs=1e-4)
        assert line["accuracy_stderr"] == pytest.approx(own.std(ddof=1) / root, abs=1e-4)
        assert line["accuracy_change"] == pytest.approx(own.mean() - whole.mean(), abs=1e-4)
        assert line["accuracy_change_stderr"] == pytest.approx((own - whole).std(ddof=1) / root, abs=1e-4)
        assert np.isnan(line["accuracy_norm"]) == (line["task"] == "last_word")
        assert line["depth"] == pytest.approx(line["layer"] / 3, abs=1e-4, nan_ok=True)
    details = tables.load_details("benchmarks", str(checkpoints["gpt2"]), "documents")
    assert len(details) == len(rows)


def instances(requests: list[tuple[str, ...]], method: str) -> list[Instance]:
    return [Instance(method, {}, request, 0, ("task", number, 1)) for number, request in enumerate(requests)]


def test_the_harness_own_model_class_gives_the_same_likelihoods(kind, bridges, checkpoints):
    """Also without a context, with spaces at its end, and for texts longer than the model's context."""
    raw, tokenizer = model_and_tokenizer(checkpoints[kind])
    pairs = [(place["question"], f" {choice}") for place in PLACES[:3] for choice in place["choices"]]
    pairs += [("", "Once upon a time"), ("The sea is  ", "blue"), ("word " * 200, "and more"), pairs[0]]
    texts = [("A short one.",), (" ".join(place["question"] for place in PLACES * 6),), ("",)]
    raw.model.config.use_cache = False  # its cache knows layers by their old numbers
    ours = lesioned(bridges[kind], tokenizer)
    for ours.lesion, lesion in enumerate(LESIONS[:3]):
        with raw.running(list(lesion.order)):
            theirs = HFLM(pretrained=raw.model, tokenizer=tokenizer, batch_size=1, max_length=128)
            expected = theirs.loglikelihood(instances(pairs, "loglikelihood"), disable_tqdm=True)
            rolled = theirs.loglikelihood_rolling(instances(texts, "loglikelihood_rolling"), disable_tqdm=True)
        found = ours.loglikelihood(instances(pairs, "loglikelihood"))
        assert [likelihood for likelihood, _ in found] == pytest.approx([float(each) for each, _ in expected], rel=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
        assert ours.loglikelihood_rolling(instances(texts, "loglikelihood_rolling")) == pytest.approx(rolled, rel=1e-4)


def test_what_is_asked_again_is_neither_tokenised_nor_run_again(bridges, checkpoints, folder, monkeypatch):
    _, tokenizer = model_and_tokenizer(checkpoints["gpt2"])
    asked, score = [], continuations.score

    def counting(bridge, requests, *others):
        asked.append(len(requests))
        return score(bridge, requests, *others)

    monkeypatch.setattr(harness, "score", counting)
    model = lesioned(bridges["gpt2"], tokenizer)
    tasks = harness.load_tasks(["places"], folder)
    harness.sweep(model, LESIONS, tasks, limit=4)
    assert sum(asked) == sum(len(place["choices"]) for place in PLACES[:4])
    monkeypatch.setattr(model, "tok_encode", None)
    assert harness.sweep(model, LESIONS, tasks, limit=2)["document"].unique().tolist() == [0, 1]


def test_a_task_in_which_the_model_writes_is_refused_before_anything_runs(bridges, checkpoints, folder):
    with pytest.raises(InputError, match=r"task retelling generates text.* choose tasks scored by log-likelihood"):
        harness.load_tasks(["places", "retelling"], folder)
    model = lesioned(bridges["gpt2"], AutoTokenizer.from_pretrained(checkpoints["gpt2"]))
    with pytest.raises(InputError, match="choose tasks scored by log-likelihood"):
        model.generate_until(instances([("Once", {"until": ["."]})], "generate_until"))


def test_a_task_without_an_accuracy_is_refused(folder):
    with pytest.raises(InputError, match="task long_text has no accuracy, only word_perplexity"):
        harness.load_tasks(["long_text"], folder)


def test_missing_data_is_named_in_one_line(folder):
    with pytest.raises(InputError, match="the data of last_word could not be loaded, go online once") as caught:
        harness.load_tasks(["last_word"], folder)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_unknown_task_is_refused_with_where_to_look(folder, capsys):
    assert command.main(["--tasks", "places,no_such_task", "--include-path", str(folder)]) == 2
    assert "no task 'no_such_task': `lm-eval ls tasks` lists them" in capsys.readouterr().err


def test_a_model_that_cannot_repeat_so_many_layers_says_so(checkpoints, folder, capsys):
    arguments = ["--tasks", "places", "--include-path", str(folder), "--interventions", "repeat_5"]
    assert command.main(["--model", str(checkpoints["gpt2"]), *arguments]) == 2
    assert "repeat_5 needs 5 layers, the model has 4" in capsys.readouterr().err


def test_a_planted_layer_is_the_one_that_matters(folder, tmp_path):
    """With every layer but the first silenced, dropping the first changes answers and dropping another none."""
    checkpoint = make_checkpoint("llama", tmp_path / "whole")
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        for layer in model.model.layers[1:]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    save(model, tmp_path / "planted")
    every_answer_is_right_once = [place | {"gold": gold} for place in PLACES for gold in range(len(place["choices"]))]
    (folder / "places.jsonl").write_text("".join(json.dumps(place) + "\n" for place in every_answer_is_right_once))
    lesions = orders.lesions(4, ["drop"])
    tasks = harness.load_tasks(["places"], folder)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "planted")
    bridge = models.load(str(tmp_path / "planted"))
    rows = harness.sweep(lesioned(bridge, tokenizer, lesions), lesions, tasks, limit=None)
    table = benchmarks.summarise(rows, 4).set_index("layer").query("intervention == 'drop'")
    assert table.loc[0, "accuracy_change_stderr"] > 0
    assert table.loc[1:, ["accuracy_change", "accuracy_change_stderr"]].abs().to_numpy().max() == 0
