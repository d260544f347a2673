"""What is true of every command line: options win over presets, in any order, and nothing but `InputError` escapes."""

import string
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers import paths
from helpers.command import options, parser, presets
from helpers.errors import InputError

PRESETS = sorted(file.stem for file in paths.PRESETS.glob("*.yaml"))
SLUGS = [options.slug_of(notebook) for notebook in options.experiment_notebooks()]
WORDS = sorted(word for action in parser.make()._actions for word in action.option_strings if word.startswith("--"))
NAMES = st.text(string.ascii_letters + string.digits + "._/", min_size=1, max_size=12).filter(
    lambda name: name[0] != "-"
)
VALUES = {  # what each option that takes one may be given; what is read is of the same type
    "tokens": st.integers(1, 10**9),
    "context": st.integers(8, 10**6),
    "corpus": NAMES,
    "control": st.sampled_from(parser.CONTROLS),
    "device": NAMES,
    "dtype": st.sampled_from(parser.DTYPES),
    "batch_size": st.integers(1, 10**6) | st.just("auto"),
    "seed": st.integers(0, 2**32 - 1),
    "jobs": st.integers(1, 64),
}
GIVEN = st.fixed_dictionaries({}, optional=VALUES)
TEXT = st.text(st.characters(exclude_characters="\0"), max_size=12)  # no argument of a program holds a NUL
NAMED = st.sampled_from([word for word in WORDS if word != "--help"])
WORD = NAMED | TEXT | st.sampled_from(SLUGS) | st.builds("{}={}".format, NAMED, TEXT | st.integers().map(str))


def command_line(given: dict[str, object], joined: bool = False) -> list[list[str]]:
    """Each option with its value, in one word or in two."""
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in given.items()]
    return [[f"{name}={value}"] if joined else [name, value] for name, value in pairs]


def read(parts: list[list[str]]) -> dict[str, object]:
    return asdict(options.read([word for part in parts for word in part]))


@given(GIVEN, st.sampled_from(PRESETS), st.booleans())
def test_what_is_given_is_read_and_the_rest_is_the_presets(chosen, preset, joined):
    found = read([["--preset", preset], *command_line(chosen, joined)])
    expected = presets.read(preset) | chosen
    assert {key: found[key] for key in VALUES} == {key: expected[key] for key in VALUES}
    assert found["models"] == tuple(expected["models"]) and found["checkpoints"] == tuple(expected["checkpoints"])
    assert found["context_is_given"] == ("context" in chosen)


@given(GIVEN, st.sets(st.sampled_from(["--force", "--list"])), st.randoms(use_true_random=False))
def test_the_order_of_options_does_not_matter(chosen, flags, random):
    parts = [*command_line(chosen), *([flag] for flag in sorted(flags)), ["--only", SLUGS[0]]]
    expected = read(parts)
    random.shuffle(parts)
    assert read(parts) == expected
    assert (expected["force"], expected["list_only"]) == ("--force" in flags, "--list" in flags)


@given(GIVEN, st.sampled_from(PRESETS))
def test_a_command_line_made_of_what_was_read_reads_the_same(chosen, preset):
    first = read([["--preset", preset], *command_line(chosen)])
    again = read([["--preset", preset], *command_line({key: first[key] for key in VALUES})])
    assert again == first | {"context_is_given": True}


@given(GIVEN, GIVEN)
def test_of_an_option_given_twice_the_last_counts(first, last):
    assert read(command_line(first) + command_line(last)) == read(command_line(first | last))


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_models_are_each_taken_once_in_the_order_given(names):
    found = read([["--model", name] for name in names])
    kept = dict.fromkeys(
        str(Path(name).resolve()) if paths.is_model_folder(name) else name for name in dict.fromkeys(names)
    )
    assert found["models"] == tuple(kept) and found["checkpoints"] == ()


@given(st.lists(st.sampled_from(SLUGS), min_size=1, max_size=6), st.sampled_from([",", ", ", ",,"]))
def test_experiments_come_in_the_order_of_the_notebooks_each_once(slugs, comma):
    found = read([["--only", comma.join(slugs)]])
    assert [options.slug_of(path) for path in found["notebooks"]] == [slug for slug in SLUGS if slug in slugs]
    assert not found["has_all_notebooks"] and read([])["has_all_notebooks"]


@given(st.lists(st.sampled_from(["a", "b", "step10", "c.d"]), min_size=1, max_size=6))
def test_every_model_is_run_at_every_checkpoint_named_once(revisions):
    chosen = options.read(["--model", "x", "--model", "y/z", "--checkpoints", " , ".join(revisions)])
    once = list(dict.fromkeys(revisions))
    assert chosen.checkpoints == tuple(once)
    along = chosen.of_checkpoints()
    assert along.models == tuple(f"{model}@{revision}" for model in ("x", "y/z") for revision in once)
    assert [options.slug_of(path) for path in along.notebooks] == [slug for slug in SLUGS if slug in options.MEASURED]
    assert (along.control, along.checkpoints) == ("none", ())


@given(st.sampled_from(["seed", "jobs", "batch_size", "tokens", "context"]), TEXT.filter(lambda word: "-" not in word))
def test_what_is_no_number_is_refused_and_named(name, word):
    try:
        is_number = int(word) >= 0 and word.strip() == word
    except ValueError:
        is_number = False
    if not is_number and not (name == "batch_size" and word == "auto"):
        with pytest.raises(InputError, match=name.replace("_", ".")):
            read(command_line({name: word}, joined=True))


@settings(max_examples=300)
@example(["--output", "~nobody-of-that-name"])
@example(["--model", "~nobody-of-that-name/model"])
@example(["--model", 300 * "x"])
@example(["--batch-size", 5000 * "9"])
@given(st.lists(WORD, max_size=6))
def test_nothing_but_an_input_error_of_one_line_escapes(words):
    words = [word for word in words if word not in ("-h", "--help")]
    try:
        options.read(words)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
