"""What the command line of `run_all.sh` is read as, and why some of it is refused."""

import re
import sys

import pytest

from helpers import paths
from helpers.command import options, parser
from helpers.errors import InputError

SLUGS = ", ".join(options.slug_of(notebook) for notebook in options.experiment_notebooks())
IN_TWO = ["--shards", "2", "--batch-size", "4"]
REFUSED = {
    "--seed -1": "--seed -1 is not between 0 and 4294967295 (see ./run_all.sh --help)",
    "--seed 4294967296": "--seed 4294967296 is not between 0 and 4294967295 (see ./run_all.sh --help)",
    "--jobs 0": "--jobs 0: at least one notebook must run at a time (see ./run_all.sh --help)",
    "--jobs 1025": "--jobs 1025: at most 1024 notebooks can run at a time (see ./run_all.sh --help)",
    "--tokens 0": "--tokens 0: evaluate on at least 1 and at most 1,000,000,000,000,000,000",
    f"--tokens 1{18 * '0'}1": f"--tokens 1{18 * '0'}1: evaluate on at least 1 and at most 1,000,000,000,000,000,000",
    "--context 7": "--context 7 is not a length: use at least 8 tokens",
    "--verify --list": "--verify writes nothing and runs all that is chosen: it takes no --list",
    "--batch-size 0": "batch size '0' is neither auto nor a positive number",
    "--batch-size two": "batch size 'two' is neither auto nor a positive number",
    "--only ,": f"--only names no experiment: there are {SLUGS}",
    "--only mlp_norm,nothing": f"no experiment 'nothing': there are {SLUGS}",
    "--preset nothing": f"no preset 'nothing': there are gpt2, paper, pocket (files in {paths.PRESETS})",
    "--checkpoints a,,b": "--checkpoints 'a,,b' has an empty name: give revisions such as step1000,step8000",
    "--model x --model y@z --checkpoints a": "--checkpoints are revisions, and y@z names one already: "
    "give the model without it",
    "--model=": "--model is empty (see ./run_all.sh --help)",
    "--model x --model=": "--model is empty (see ./run_all.sh --help)",
    "--output=": "--output is empty (see ./run_all.sh --help)",
    "--batch-size=": "--batch-size is empty (see ./run_all.sh --help)",
    "--control maybe": "argument --control: invalid choice: 'maybe' (choose from 'none', 'untrained') "
    "(see ./run_all.sh --help)",
    "--tok 3": "unrecognized arguments: --tok 3 (see ./run_all.sh --help)",
    "--refresh --tokens=3 --force": "--refresh reruns the notebooks' own defaults and takes no --tokens=3",
    "--shards 0": "--shards 0: cut into at least 1",
    "--shards 2": "--shards 2 cuts between batches: say how long they are with --batch-size",
}
PRESETS = {
    "a: [": "preset {file} is not YAML: mend it",
    "- a list": "preset {file} is not a YAML mapping of options",
    "models: [x]\nspeed: 3": "preset {file} has unknown or missing keys: context, control, corpus, speed, tokens",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_is_named_with_what_to_do(line):
    with pytest.raises(InputError) as caught:
        options.read(line.split())
    assert str(caught.value) == REFUSED[line]


JUST_ALLOWED = ["--seed 0", "--seed 4294967295", "--jobs 1", "--jobs 1024", "--batch-size 1", "--shards 1"]
JUST_ALLOWED += [f"--tokens 1{18 * '0'}", f"--context 1{18 * '0'}", "--context 8", f"--batch-size {18 * '9'}"]


@pytest.mark.parametrize("line", JUST_ALLOWED)
def test_what_is_just_allowed_is_read(line):
    name, value = line[2:].split()
    assert getattr(options.read(line.split()), name.replace("-", "_")) == int(value)


def test_nothing_given_is_the_bundled_model_with_everything():
    chosen = options.read([])
    expected = {"preset": "pocket", "models": ("pocket",), "corpus": "bundled", "tokens": 6144, "context": 256}
    expected |= {"checkpoints": ("step100", "step1000", "step3700"), "control": "untrained", "device": "auto"}
    expected |= {"dtype": "float32", "batch_size": "auto", "seed": 0, "jobs": 2, "shards": 1, "shard": None}
    expected |= {"context_is_given": False, "has_all_notebooks": True, "output": None, "pages": True}
    expected |= {"force": False, "refresh": False, "list_only": False, "verify": False}
    assert {name: getattr(chosen, name) for name in expected} == expected
    assert ", ".join(map(options.slug_of, chosen.notebooks)) == SLUGS


def test_switches_are_off_unless_named(tmp_path):
    chosen = options.read(["--force", "--list", "--no-pages", "--output", f"{tmp_path}/a/../b"])
    assert (chosen.force, chosen.list_only, chosen.pages, chosen.output) == (True, True, False, tmp_path / "b")
    assert options.read(["--verify"]).verify


def test_the_words_of_this_program_are_read_where_none_are_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_all.sh", "--refresh", "--only", "mlp_norm", "--jobs=3", "--list"])
    chosen = options.read()
    assert (chosen.refresh, chosen.jobs, chosen.list_only) == (True, 3, True)
    monkeypatch.setattr(sys, "argv", ["run_all.sh", "--refresh", "--force"])
    with pytest.raises(InputError, match="takes no --force"):
        options.read()


def test_a_single_shard_is_of_one_experiment_on_one_model():
    (slug, *_) = SLUGS.split(", ")
    one = [*IN_TWO, "--model", "x", "--only", slug]
    for shard in ("1", "2"):
        assert options.read([*one, "--shard", shard]).shard == int(shard)
    for shard in ("0", "3"):
        with pytest.raises(InputError, match=f"^--shard {shard} is not between 1 and 2, the number of --shards$"):
            options.read([*one, "--shard", shard])
    experiments = "layer_lesion, local_attention, logit_lens, mlp_norm"
    message = f"^--shard is a part of one experiment on one --model: add --only with one of {experiments}$"
    several = ["--model", "y"], ["--only", "mlp_norm,logit_lens"], ["--only", "detokenization"]
    for more in (one[2:] + more for more in several):
        with pytest.raises(InputError, match=message):
            options.read([*IN_TWO, *more, "--shard", "1"])
    with pytest.raises(InputError, match=message):
        options.read([*IN_TWO, "--only", slug, "--shard", "1"])  # which model is the preset's affair


def test_a_local_folder_is_made_absolute_with_its_revision_kept(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    chosen = options.read(["--model", "model@untrained", "--model", "gpt2@main"])
    assert chosen.models == (f"{tmp_path}/model@untrained", "gpt2@main")


@pytest.mark.parametrize("content", PRESETS)
def test_a_preset_that_is_none_is_refused_by_its_file(content, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(InputError) as caught:
        options.read(["--preset", "mine"])
    assert str(caught.value).startswith(PRESETS[content].format(file=tmp_path / "mine.yaml"))


@pytest.mark.parametrize("value", ["models: gpt2", "models: [1]", "models: ['']", "tokens: many", "tokens: true"])
def test_a_value_of_another_kind_is_refused_beside_one_like_it_should_be(value, tmp_path, monkeypatch):
    name = value.split(":")[0]
    kept = [row for row in (paths.PRESETS / "pocket.yaml").read_text().splitlines() if not row.startswith(name)]
    (tmp_path / "mine.yaml").write_text("\n".join([*kept, value]))
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    like = {"models": "['gpt2']", "tokens": "20000"}[name]
    with pytest.raises(InputError, match=f"mine.yaml: {name} is .*, it should be like {re.escape(like)}$"):
        options.read(["--preset", "mine"])


def test_a_control_that_only_a_preset_can_name_is_refused(tmp_path, monkeypatch):
    preset = (paths.PRESETS / "pocket.yaml").read_text().replace("control: untrained", "control: both")
    (tmp_path / "mine.yaml").write_text(preset)
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    with pytest.raises(InputError, match=r"^control 'both' is not one of none, untrained \(see "):
        options.read(["--preset", "mine"])


CAPITALS = {"NAME", "BOS", "N", "I", "FILE"}  # what may stand in a line of help


def test_help_names_every_option_and_says_what_it_does():
    command_line = parser.make()
    for action in command_line._actions:
        words = action.help or " ".join(action.choices)
        assert re.match(r"[a-z]", words), words
        assert set(re.findall(r"\b[A-Z]+\b", words)) <= CAPITALS, words
        assert not words.endswith((".", "XX")), words
    page = command_line.format_help()
    assert page.startswith("usage: run_all.sh ")
    assert command_line.description == "Regenerate every figure of the paper, for any decoder."


def test_the_readmes_table_has_every_option_with_the_words_of_the_help():
    table = (paths.ROOT / "README.md").read_text().split("| option | default | meaning |")[1].split("\n\n")[0]
    named = re.findall(r"`(--[a-z-]+)(?: ([^`]+))?`", "\n".join(row.split(" | ")[0] for row in table.splitlines()))
    told = {name: words.replace("\\|", "|") for name, words in named}
    asked = {action.option_strings[-1]: action for action in parser.make()._actions if action.dest != "help"}
    assert set(told) == set(asked)
    for name, action in asked.items():
        assert told[name] == (action.metavar or "|".join(action.choices or [])), name
