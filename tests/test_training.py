"""The training recipe learns, resumes to the same weights, writes loadable folders, refuses bad input."""

import importlib.util
import json
import lzma
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

RECIPE = Path(__file__).parents[1] / "training" / "train.py"
POCKET = RECIPE.parents[1] / "models" / "pocket"
spec = importlib.util.spec_from_file_location("training_recipe", RECIPE)
recipe = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = recipe  # a dataclass looks its module up
spec.loader.exec_module(recipe)

TINY = ["--layers", "2", "--width", "32", "--heads", "2", "--context", "32", "--batch", "8"]
TINY += ["--vocabulary", "320", "--steps", "60", "--warmup", "5", "--learning-rate", "1e-2"]
TINY += ["--validation-windows", "32", "--device", "cpu"]


def story(seed: int, sentences: int = 400) -> str:
    """Sentences of one rigid form, five to a paragraph: knowing the last words helps a great deal."""
    draw = random.Random(seed)
    lines = [
        f"The {draw.choice(['cat', 'dog', 'owl'])} saw a {draw.choice(['red', 'blue', 'green'])} "
        f"{draw.choice(['ball', 'house', 'river'])} near the {draw.choice(['old', 'new'])} garden wall."
        for _ in range(sentences)
    ]
    return "\n\n".join(" ".join(lines[i : i + 5]) for i in range(0, sentences, 5))


def train(*options: object) -> int:
    """Run the recipe's command line in this process."""
    return recipe.main([str(option) for option in options])


def validation_losses(out: Path) -> dict[int, float]:
    """Nats per token by step."""
    rows = np.loadtxt(out / "validation_loss.csv", delimiter=",", skiprows=1, ndmin=2)
    return {int(step): float(nats) for step, _, nats, _ in rows}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """A folder with one text file and one JSONL file."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "one.txt").write_text(story(0))
    lines = [json.dumps({"text": story(seed, 100)}) for seed in range(1, 9)]
    (folder / "more.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def undisturbed(text, tmp_path_factory) -> Path:
    """The output folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("out") / "model"
    assert train(text, "--out", out, "--checkpoints", "0,7,60", *TINY) == 0
    return out


def test_validation_loss_falls_far_below_the_unigram_level(undisturbed):
    tokenizer = AutoTokenizer.from_pretrained(undisturbed)
    counts = np.bincount(tokenizer(story(99))["input_ids"])
    shares = counts[counts > 0] / counts.sum()
    unigram = -(shares * np.log(shares)).sum()
    losses = validation_losses(undisturbed)
    assert losses[0] == pytest.approx(math.log(len(tokenizer)), abs=0.2)
    assert losses[60] < 0.6 * unigram


def test_the_saved_loss_is_that_of_the_loaded_model(undisturbed, text):
    args = recipe.parse_arguments([str(text), "--out", str(undisturbed), *TINY])
    tokenizer = AutoTokenizer.from_pretrained(undisturbed)
    model = AutoModelForCausalLM.from_pretrained(undisturbed, dtype=torch.float32)
    _, documents = recipe.load_documents(args)
    ids = recipe.encode(list(recipe.passages(documents)), tokenizer).astype(np.int64)
    rows = torch.from_numpy(ids[: (len(ids) - 1) // 32 * 32 + 1]).unfold(0, 33, 32)  # [window, context + 1]
    rows = rows[np.linspace(0, len(rows) - 1, 32).astype(int)]
    with torch.no_grad():
        logp = model(rows[:, :-1]).logits.log_softmax(-1)
    loss = -logp.gather(-1, rows[:, 1:, None]).mean().item()
    assert loss == pytest.approx(validation_losses(undisturbed)[60], abs=2e-3)  # float16 on disk


@pytest.mark.parametrize("stop_after", [5, 33])
def test_an_interrupted_run_ends_with_the_same_weights(undisturbed, text, tmp_path, monkeypatch, stop_after):
    command = (text, "--out", tmp_path, "--checkpoints", "0,7,60", "--save-every", 10, *TINY)
    update = recipe.update

    def update_until_stopped(run):
        if run.step == stop_after:
            raise KeyboardInterrupt
        return update(run)

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "update", update_until_stopped)
        assert train(*command) == 130
    assert not (tmp_path / "model.safetensors").exists()
    assert train(*command) == 0
    for file in ("model.safetensors", "step7/model.safetensors", "resume/state.safetensors"):
        ours, theirs = load_file(tmp_path / file), load_file(undisturbed / file)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), file
    assert validation_losses(tmp_path) == validation_losses(undisturbed)


def test_repeating_a_finished_command_changes_nothing(undisturbed, text):
    before = (undisturbed / "model.safetensors").read_bytes()
    assert train(text, "--out", undisturbed, "--checkpoints", "0,7,60", *TINY) == 0
    assert (undisturbed / "model.safetensors").read_bytes() == before


def test_checkpoints_are_complete_folders_at_the_given_steps(undisturbed):
    assert {folder.name for folder in undisturbed.glob("step*")} == {"step0", "step7", "step60"}
    weights = {}
    for step in (0, 7, 60):
        AutoTokenizer.from_pretrained(undisturbed / f"step{step}")
        model = AutoModelForCausalLM.from_pretrained(undisturbed / f"step{step}")
        weights[step] = model.gpt_neox.layers[0].mlp.dense_h_to_4h.weight
    final = AutoModelForCausalLM.from_pretrained(undisturbed).gpt_neox.layers[0].mlp.dense_h_to_4h.weight
    assert torch.equal(weights[60], final)
    assert not torch.equal(weights[0], weights[7])


def test_the_saved_folder_loads_with_every_weight_in_half_precision(undisturbed):
    model, report = AutoModelForCausalLM.from_pretrained(undisturbed, output_loading_info=True)
    assert not any(report.values())
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert model.config.num_hidden_layers == 2
    assert not model.config.use_parallel_residual
    assert not list(undisturbed.rglob("*.bin")) + list(undisturbed.rglob("*.pt"))


def test_the_tokenizer_round_trips_text_it_never_saw(undisturbed):
    tokenizer = AutoTokenizer.from_pretrained(undisturbed)
    sentence = "  Größe matters, doesn't it?\n\nThe cat saw 7 日本 owls 🦉."
    assert tokenizer.decode(tokenizer(sentence)["input_ids"]) == sentence
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == 0
    assert tokenizer.model_max_length == 32


def test_an_existing_tokenizer_is_used_as_it_is(undisturbed, text, tmp_path):
    options = ("--tokenizer", undisturbed, "--dtype", "float32", *TINY, "--steps", 1)
    assert train(text, "--out", tmp_path / "model", *options) == 0
    used, given = tmp_path / "model" / "tokenizer.json", undisturbed / "tokenizer.json"
    assert used.read_text() == given.read_text()
    assert load_file(tmp_path / "model" / "model.safetensors")["embed_out.weight"].dtype == torch.float32


def test_another_seed_gives_another_model(undisturbed, text, tmp_path):
    assert train(text, "--out", tmp_path, *TINY, "--steps", 1, "--seed", 1, "--checkpoints", "0") == 0
    ours, theirs = (load_file(out / "step0" / "model.safetensors") for out in (tmp_path, undisturbed))
    assert not torch.equal(ours["embed_out.weight"], theirs["embed_out.weight"])


def test_tokens_are_turned_into_steps():
    options = ["--tokens", "10000", "--batch", "4", "--context", "100"]
    args = recipe.parse_arguments(["x", "--out", "y", *options])
    assert args.steps == 25


def test_the_defaults_are_those_of_the_second_run_of_the_bundled_model():
    args = recipe.parse_arguments(["x", "--out", "y"])
    model = recipe.build_model(args, recipe.load_tokenizer(POCKET))
    ours, theirs = model.config.to_diff_dict(), AutoConfig.from_pretrained(POCKET).to_diff_dict()
    different = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    assert different <= {"dtype", "architectures", "_name_or_path"}  # what only a saved model has
    assert args.batch * args.context * args.steps == 12_288_000


@pytest.mark.parametrize("step, activation", [(100, "gelu"), (1000, "gelu"), (3700, "relu")])
def test_the_bundled_checkpoints_are_of_one_shape_with_the_model(step, activation):
    checkpoint, model = (AutoConfig.from_pretrained(folder) for folder in (POCKET / f"step{step}", POCKET))
    assert checkpoint.hidden_act == activation
    assert checkpoint.to_diff_dict() | {"hidden_act": model.hidden_act} == model.to_diff_dict()
    weights = [load_file(folder / "model.safetensors") for folder in (POCKET / f"step{step}", POCKET)]
    assert {name: t.shape for name, t in weights[0].items()} == {name: t.shape for name, t in weights[1].items()}
    assert not torch.equal(weights[0]["embed_out.weight"], weights[1]["embed_out.weight"])
    assert (POCKET / f"step{step}" / "tokenizer.json").read_bytes() == (POCKET / "tokenizer.json").read_bytes()


def test_passages_begin_at_paragraphs_and_keep_all_of_them():
    document = "\n\n".join(f"paragraph {i} " + "x" * 400 for i in range(50))
    cut = list(recipe.passages([document]))
    assert "\n\n".join(cut) == document
    assert all(3000 <= len(passage) < 3000 + 450 for passage in cut[:-1])


def test_every_window_comes_once_in_a_pass():
    seen = np.concatenate([recipe.batch_rows(step, batch=4, n_windows=22, seed=0) for step in range(5)])
    assert len(set(seen.tolist())) == 20
    assert not np.array_equal(recipe.batch_rows(5, 4, 22, 0), recipe.batch_rows(0, 4, 22, 0))


def test_neighbouring_windows_share_the_token_that_one_predicts_and_the_other_begins_with():
    cut = recipe.windows(np.arange(9, dtype=np.uint32), np.array([0, 1]), context=4)
    assert cut.tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]


def test_the_learning_rate_warms_up_stays_and_falls_to_two_percent():
    rate = [recipe.rate_factor(step, steps=1000, warmup=100, decay_from=0.6) for step in range(1000)]
    assert rate[0] == 0.01
    assert rate[99:601] == [1.0] * 502
    assert rate[800] == pytest.approx(0.5)
    assert rate[999] == 0.02


@pytest.mark.parametrize("mlp_optimizer, n_muon", [("muon", 2 * 4), ("adamw", 2 * 2)])
def test_muon_gets_the_matrices_of_attention_and_the_mlps_where_asked(mlp_optimizer, n_muon, undisturbed):
    model = AutoModelForCausalLM.from_pretrained(undisturbed)
    optimizers = recipe.build_optimizers(model, mlp_optimizer)
    muon, adamw = ([p for g in o.param_groups for p in g["params"]] for o in optimizers.values())
    assert len(muon) == n_muon  # two layers: query_key_value, dense, and two of the MLP
    assert len(muon) + len(adamw) == len(list(model.parameters()))
    embeddings = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    assert all(any(p is embedding for p in adamw) for embedding in embeddings)
    decays = {
        id(p): group["weight_decay"] for o in optimizers.values() for group in o.param_groups for p in group["params"]
    }
    assert all((decays[id(p)] > 0) == (p.dim() == 2) for p in model.parameters())


def test_a_run_can_start_from_another_model_with_another_activation(undisturbed, text, tmp_path):
    options = [*TINY, "--start", undisturbed, "--activation", "gelu", "--steps", 5, "--checkpoints", 0]
    assert train(text, "--out", tmp_path / "on", *options) == 0
    started, given = (load_file(folder / "model.safetensors") for folder in (tmp_path / "on" / "step0", undisturbed))
    assert all(torch.equal(started[name], given[name]) for name in given)
    assert (tmp_path / "on" / "tokenizer.json").read_text() == (undisturbed / "tokenizer.json").read_text()
    activations = [AutoConfig.from_pretrained(folder).hidden_act for folder in (tmp_path / "on", undisturbed)]
    assert activations == ["gelu", "relu"]


def test_what_the_mlps_write_can_be_learned_anew(undisturbed, text, tmp_path):
    options = [*TINY, "--start", undisturbed, "--fresh-mlp-outputs", "--steps", 1, "--checkpoints", 0]
    assert train(text, "--out", tmp_path, *options) == 0
    started, given = (load_file(folder / "model.safetensors") for folder in (tmp_path / "step0", undisturbed))
    changed = {name for name in given if not torch.equal(started[name], given[name])}
    assert changed and all(".mlp.dense_4h_to_h." in name for name in changed)


def test_a_run_that_learns_outputs_anew_is_not_continued_without(undisturbed, text, tmp_path, capsys):
    options = [*TINY, "--start", undisturbed, "--steps", 1]
    assert train(text, "--out", tmp_path, *options, "--fresh-mlp-outputs") == 0
    assert train(text, "--out", tmp_path, *options) == 1
    assert "another --fresh-mlp-outputs" in capsys.readouterr().err


def test_a_start_of_another_shape_is_refused(undisturbed, text, tmp_path, capsys):
    assert train(text, "--out", tmp_path, *TINY, "--start", undisturbed, "--layers", 3) == 1
    message = capsys.readouterr().err
    assert "another shape" in message and message.count("\n") == 1


def test_a_validation_file_inside_the_text_folder_is_not_trained_on(text):
    options = [str(text), "--validation", str(text / "one.txt"), "--out", "unused"]
    documents, validation = recipe.load_documents(recipe.parse_arguments(options))
    assert validation == [story(0)]
    assert len(documents) == 8


def test_a_lone_document_gives_its_end_for_validation():
    documents, validation = recipe.hold_out(["a\n\nb\n\nc\n\nd"], share=0.25, seed=0)
    assert (documents, validation) == (["a\n\nb\n\nc"], ["d"])


def test_compressed_jsonl_is_read(tmp_path):
    with lzma.open(tmp_path / "text.jsonl.xz", "wt") as file:
        file.write('{"text": "one"}\n\n{"text": "two"}\n{"text": " "}\n')
    assert recipe.read_documents(tmp_path / "text.jsonl.xz") == ["one", "two"]


def bad_inputs(folder: Path) -> dict[str, list]:
    """Command lines that cannot work, by a word their message must hold."""
    (folder / "empty").mkdir()
    (folder / "short.txt").write_text("one\n\ntwo")
    (folder / "single.txt").write_text("one")
    (folder / "blank.txt").write_text(" \n")
    (folder / "latin.txt").write_bytes("Größe".encode("latin-1"))
    (folder / "broken.jsonl").write_text('{"text": "fine"}\n{"txt": "not"}\n')
    (folder / "broken.jsonl.xz").write_bytes(b"no xz at all")
    (folder / "story.txt").write_text(story(0))
    (folder / "done").mkdir()
    (folder / "done" / "model.safetensors").touch()
    fine = folder / "story.txt"
    return {
        "does not exist": [folder / "missing"],
        "no text found": [folder / "empty"],
        "no training text": [folder / "blank.txt"],
        "too little training text": [folder / "short.txt"],
        "too little text": [folder / "single.txt"],
        "UTF-8": [folder / "latin.txt"],
        '"text"': [folder / "broken.jsonl"],
        "leave it out": [folder / "broken.jsonl.xz"],
        "no tokenizer.json": [fine, "--tokenizer", folder / "empty"],
        "no model.safetensors": [fine, "--start", folder / "empty", "--tokenizer", POCKET],
        "multiple of": [fine, "--heads", 3],
        "past the last step": [fine, "--checkpoints", "61"],
        "--held-out": [fine, "--held-out", "1.5"],
        "257": [fine, "--vocabulary", 100],
        "choose another --out": [fine, "--out", folder / "done"],
    }


def test_bad_input_is_refused_in_one_line_that_names_the_fix(tmp_path, capsys):
    for word, options in bad_inputs(tmp_path).items():
        assert train("--out", tmp_path / "out", *TINY, *options) == 1, word
        message = capsys.readouterr().err
        assert word in message
        assert message.count("\n") == 1
        assert "Traceback" not in message


@pytest.mark.parametrize("option", ["--steps many", "--steps 0", "--checkpoints 1,x", "--nonsense"])
def test_a_mistyped_option_is_refused_in_one_line(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        train("text", "--out", "unused", *option.split())
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_is_not_continued_with_other_options_or_text(undisturbed, text, tmp_path, capsys):
    assert train(text, "--out", undisturbed, *TINY, "--learning-rate", "1e-3") == 1
    assert "another --learning-rate" in capsys.readouterr().err
    (tmp_path / "other.txt").write_text(story(50))
    assert train(tmp_path, "--out", undisturbed, *TINY) == 1
    assert "another text" in capsys.readouterr().err


def test_the_loss_per_character_is_the_loss_of_the_text_spread_over_its_characters(tmp_path):
    held_out = story(99, 40)
    (tmp_path / "train.txt").write_text(story(0))
    (tmp_path / "held_out.txt").write_text(held_out)
    files = [tmp_path / "train.txt", "--validation", tmp_path / "held_out.txt", "--out", tmp_path / "out"]
    assert train(*files, *TINY, "--vocabulary", 300, "--steps", 2) == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    passage = held_out.strip()
    n_tokens = 1 + len(tokenizer(passage, add_special_tokens=False)["input_ids"])  # BOS is a token, no character
    rows = np.loadtxt(tmp_path / "out" / "validation_loss.csv", delimiter=",", skiprows=1)
    assert len(passage) < recipe.PASSAGE_CHARACTERS, "one passage"
    np.testing.assert_allclose(rows[:, 3], rows[:, 2] * n_tokens / len(passage), rtol=1e-3)
