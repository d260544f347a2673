"""Models and data sets from the Hub, served on this machine: what is read, what is refused, what is never fetched."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import checkpoints as kinds
import pandas as pd
import pytest
import torch
from fake_hub import FakeHub, Repository, commit

from helpers import models
from helpers.engine import hub, sources

TOKENS = torch.arange(100, 124)[None]
LOADER = """
import json, sys, torch
from helpers import models
from helpers.engine import sources
from helpers.errors import InputError

answers = {}
for name in sys.argv[1:]:
    try:
        source = sources.find(name)
        logits = models.load(name)(torch.arange(100, 124)[None], use_cache=False)
        answers[name] = {"revision": source.revision, "logits": logits[0, -1, :50].tolist()}
    except InputError as error:
        answers[name] = {"refusal": str(error)}
print(json.dumps(answers))
"""
pytestmark = pytest.mark.slow
ONLINE = [
    "acme/tiny",
    "acme/tiny@step1",
    "acme/tiny@step9",
    "acme/tiny@untrained",
    "gpt2",
    "acme/gated",
    "acme/missing",
    "acme/pickled",
    "acme/cut-off",
    "acme/busy",
    "acme/not a name",
]
OFFLINE = ["acme/tiny", "acme/tiny@step1", "gpt2", "acme/tiny@step2", "acme/never-seen", "gpt2-xl"]


def load_elsewhere(names: list[str], environment: dict[str, str]) -> dict[str, dict]:
    """Load each model in a process of its own; returns revision and logits, or the refusal, by name."""
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *names], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def session(checkpoints, tmp_path_factory):
    """One process that loads from the Hub, and a second one, offline, with the cache of the first."""
    root = tmp_path_factory.mktemp("hub")
    tiny = Path(shutil.copytree(checkpoints["neox_sequential"], root / "tiny"))
    (tiny / "pytorch_model.bin").write_bytes(b"the same, pickled")
    (tiny / "original").mkdir()
    (tiny / "original" / "consolidated.safetensors").write_bytes(b"the same, in another layout")
    step1 = kinds.make_checkpoint("neox_sequential", root / "step1", seed=1)
    pickled = Path(shutil.copytree(checkpoints["gpt2"], root / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    gpt2 = {"main": checkpoints["gpt2"]}
    repositories = {
        "acme/tiny": Repository({"main": tiny, "step1": step1, "step2": step1}),
        "openai-community/gpt2": Repository(gpt2),
        "acme/gated": Repository(gpt2, gated=True),
        "acme/pickled": Repository({"main": pickled}),
        "acme/cut-off": Repository(gpt2, cut_off="model.safetensors"),
        "acme/busy": Repository(gpt2, unavailable="model.safetensors"),
        "acme/never-seen": Repository(gpt2),
    }
    with FakeHub(repositories) as hub:
        online = load_elsewhere(ONLINE, hub.environment(root / "cache"))
        requests = list(hub.requests)
        offline = load_elsewhere(OFFLINE, hub.environment(root / "cache", HF_HUB_OFFLINE="1"))
        asked_offline = hub.requests[len(requests) :]
    return {"online": online, "offline": offline, "requests": requests, "asked offline": asked_offline, "step1": step1}


def logits(name: str) -> list[float]:
    return models.load(str(name))(TOKENS, use_cache=False)[0, -1, :50].tolist()


def test_model_on_the_hub_is_the_model_in_the_folder(session, checkpoints):
    expected = logits(checkpoints["neox_sequential"])
    assert session["online"]["acme/tiny"]["logits"] == pytest.approx(expected, abs=1e-5)
    assert session["online"]["acme/tiny"]["revision"] == commit("acme/tiny", "main")


def test_revision_is_loaded_and_recorded_by_its_commit(session):
    assert session["online"]["acme/tiny@step1"]["logits"] == pytest.approx(logits(session["step1"]), abs=1e-5)
    assert session["online"]["acme/tiny@step1"]["revision"] == commit("acme/tiny", "step1")


def test_untrained_twin_of_a_model_on_the_hub_loads(session, checkpoints):
    expected = logits(f"{checkpoints['neox_sequential']}@untrained")
    assert session["online"]["acme/tiny@untrained"]["logits"] == pytest.approx(expected, abs=1e-5)


def test_alias_is_fetched_from_the_repository_of_the_paper(session, checkpoints):
    assert session["online"]["gpt2"]["logits"] == pytest.approx(logits(checkpoints["gpt2"]), abs=1e-5)
    assert ("GET", "/api/models/openai-community/gpt2/revision/main") in session["requests"]


def test_only_what_is_needed_is_ever_asked_for(session):
    fetched = {path.rpartition("/")[2] for _, path in session["requests"] if "/resolve/" in path}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not [name for name in fetched if name.endswith(".bin") or name.startswith("consolidated")]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("acme/tiny@step9", ["acme/tiny has no revision step9", "branches"]),
        ("acme/gated", ["acme/gated is gated", "ask for access", "hf auth login"]),
        ("acme/missing", ["acme/missing is not on the Hub", "spelling"]),
        ("acme/pickled", ["acme/pickled", "no weights", "safetensors"]),
        ("acme/cut-off", ["acme/cut-off could not be downloaded", "try again"]),
        ("acme/busy", ["acme/busy could not be downloaded", "try again", "503"]),
        ("acme/not a name", ["acme/not a name", "neither a folder here nor a Hub id"]),
    ],
)
def test_online_refusal_names_cause_and_remedy(name, words, session):
    refusal = session["online"][name]["refusal"]
    assert "\n" not in refusal
    assert not [word for word in words if word not in refusal], refusal


@pytest.mark.parametrize("name", ["acme/tiny", "acme/tiny@step1", "gpt2"])
def test_what_was_loaded_once_loads_offline(name, session):
    assert session["offline"][name] == session["online"][name]


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["acme/tiny@step2", "acme/never-seen", "gpt2-xl"])
def test_offline_refusal_says_that_it_was_never_downloaded(name, session):
    refusal = session["offline"][name]["refusal"]
    assert sources.ALIASES.get(name, name) in refusal
    assert "not in the local cache" in refusal and "go online once" in refusal


def test_offline_means_that_nothing_is_asked_for(session):
    assert session["asked offline"] == []


# --- Data sets, streamed

TEXTS = [f"Document {number}. " + "The old man read a letter by the river. " * 40 for number in range(60)]
READER = """
import json, sys, time
waited, sleep = [], time.sleep
time.sleep = lambda seconds: (waited.append(seconds), sleep(0.01))
from helpers.text import documents
from helpers.errors import InputError

answers = {}
for name in sys.argv[1:]:
    waited.clear()
    try:
        answers[name] = {"texts": list(documents.documents(name))}
    except InputError as error:
        answers[name] = {"refusal": str(error)}
    answers[name]["waited"] = sum(waited)
print(json.dumps(answers))
"""
JSON, PARQUET = "train.jsonl", "train.parquet"
FAILURES = {  # what goes wrong with the file of texts
    "cut": dict(cut_off=True),
    "cut-once": dict(cut_off=True, times=1),
    "silent-once": dict(silent=True, times=1),
    "busy": dict(unavailable=True),
    "broken-twice": dict(unavailable=True, status=500, times=2),
    "limited": dict(unavailable=True, status=429, retry_after="2"),
    "limited-once": dict(unavailable=True, status=429, retry_after="2", times=1),
    "limited-for-days": dict(unavailable=True, status=429, retry_after="1000000"),
    "forbidden": dict(unavailable=True, status=403),
    "gated": dict(gated=True),
}
GO_WELL = ("cut-once", "silent-once", "broken-twice", "limited-once")
ODD = {  # files of other data sets, and what is said of them
    "numbers": ({JSON: '{"text": 5}'}, "column 'text' holds int, not text"),
    "lists": ({JSON: '{"text": ["a"]}'}, "column 'text' holds list, not text"),
    "other-column": ({JSON: '{"content": "a", "id": 1}'}, "has no column 'text' (it has: content, id)"),
    "not-json": ({JSON: '{"text": "a"}\n{"text": '}, "cannot be read"),
    "half-a-pair": ({JSON: '{"text": "a\\ud800"}'}, "cannot be read"),
    "not-parquet": ({PARQUET: "PAR1 and so on PAR1"}, "cannot be read"),
    "utf-16": ({JSON: '{"text": "a"}'.encode("utf-16")}, "cannot be read"),
    "nothing": ({"notes.md": "no data"}, "cannot be read"),
    "other-split": ({"test.jsonl": '{"text": "a"}'}, "cannot be read"),
    "with-code": ({"with-code.py": "open('was run', 'w')", "notes.md": ""}, "cannot be read"),
}


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """One process that reads every data set, with the pauses it would make noted and not made."""
    root = tmp_path_factory.mktemp("datasets")
    good = {name: root / name for name in ("json", "parquet")}
    for folder in good.values():
        folder.mkdir()
    rows = pd.DataFrame({"text": [None, *TEXTS, " "], "content": "other"})
    rows.to_json(good["json"] / JSON, orient="records", lines=True)
    rows.to_parquet(good["parquet"] / PARQUET, row_group_size=20, compression=None)
    repositories = {f"acme/{name}": Repository({"main": folder}) for name, folder in good.items()}
    for name, folder in good.items():
        file = {"json": JSON, "parquet": PARQUET}[name]
        for what, how in FAILURES.items():
            named = {key: file if value is True and key != "gated" else value for key, value in how.items()}
            repositories[f"acme/{name}-{what}"] = Repository({"main": folder}, **named)
    for name, (files, _) in ODD.items():
        (root / name).mkdir()
        for file, content in files.items():
            (root / name / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        repositories[f"acme/{name}"] = Repository({"main": root / name})
    asked = [*(f"hf:{name}" for name in repositories), "hf:acme/json:content", "hf:acme/parquet,zzz", "hf:acme/missing"]
    with FakeHub({}, repositories) as served:
        environment = served.environment(root / "cache", HF_HUB_DOWNLOAD_TIMEOUT="1")
        command = [sys.executable, "-c", READER, *asked]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, cwd=root)
    assert done.returncode == 0, done.stderr
    assert not (root / "was run").exists()
    assert all(line.startswith("note: the Hub asks") for line in done.stderr.splitlines()), done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["json", "parquet"])
def test_streamed_data_set_is_read_whole(name, streamed):
    assert streamed[f"hf:acme/{name}"]["texts"] == TEXTS


def test_another_column_is_read_if_named(streamed):
    assert streamed["hf:acme/json:content"]["texts"] == ["other"] * (len(TEXTS) + 2)


@pytest.mark.parametrize("what", GO_WELL)
@pytest.mark.parametrize("name", ["json", "parquet"])
def test_what_goes_wrong_once_or_twice_is_asked_for_again(name, what, streamed):
    assert streamed[f"hf:acme/{name}-{what}"]["texts"] == TEXTS
    assert 0 < streamed[f"hf:acme/{name}-{what}"]["waited"] < 60


@pytest.mark.bad_input
@pytest.mark.parametrize("what", [what for what in FAILURES if what not in GO_WELL])
@pytest.mark.parametrize("name", ["json", "parquet"])
def test_what_goes_wrong_every_time_is_refused_in_one_line_and_after_a_while(name, what, streamed):
    answer = streamed[f"hf:acme/{name}-{what}"]
    assert f"hf:acme/{name}-{what} cannot be read; check the name and the network" in answer["refusal"]
    assert answer["refusal"].isprintable()
    assert answer["waited"] <= (12 * (hub.LONGEST_WAIT + 1) if what == "limited-for-days" else 120)


@pytest.mark.bad_input
@pytest.mark.parametrize(("name", "words"), [(name, words) for name, (_, words) in ODD.items()], ids=ODD)
def test_data_set_of_something_else_is_refused_in_one_line(name, words, streamed):
    refusal = streamed[f"hf:acme/{name}"]["refusal"]
    assert f"hf:acme/{name}" in refusal and words in refusal
    assert refusal.isprintable() and len(refusal) < 600


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["acme/missing", "acme/parquet,zzz"])
def test_data_set_that_is_not_there_is_refused_in_one_line(name, streamed):
    assert f"hf:{name} cannot be read; check the name and the network" in streamed[f"hf:{name}"]["refusal"]
