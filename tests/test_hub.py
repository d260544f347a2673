"""Models from the Hub, served on this machine: what loads, what is refused and how, and what is never fetched."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import checkpoints as kinds
import pytest
import torch
from fake_hub import FakeHub, Repository, commit

from helpers import models
from helpers.engine import sources

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


@pytest.mark.parametrize("name", ["acme/tiny@step2", "acme/never-seen", "gpt2-xl"])
def test_offline_refusal_says_that_it_was_never_downloaded(name, session):
    refusal = session["offline"][name]["refusal"]
    assert sources.ALIASES.get(name, name) in refusal
    assert "not in the local cache" in refusal and "go online once" in refusal


def test_offline_means_that_nothing_is_asked_for(session):
    assert session["asked offline"] == []
