"""A model is loaded so that it predicts what Hugging Face's own predicts, or it is refused in one line."""

import json
import re
import shutil
import warnings
from pathlib import Path

import checkpoints as kinds
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from helpers import blocks, models, paths
from helpers.command import presets
from helpers.engine import sources
from helpers.errors import InputError

TOKENS = torch.randint(kinds.VOCABULARY, (3, 48), generator=torch.Generator().manual_seed(1))
every_kind = pytest.mark.parametrize("kind", kinds.KINDS)


def hf_model(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def hf_models(checkpoints):
    """The plain Hugging Face model by kind."""
    return kinds.MadeOnce(lambda kind: hf_model(checkpoints[kind]))


@pytest.fixture
def copied(checkpoints, tmp_path):
    """Copies a checkpoint to a folder of one's own, to be broken."""
    return lambda kind: Path(shutil.copytree(checkpoints[kind], tmp_path / f"my_{kind}"))


def log_probabilities(model) -> Tensor:
    out = model(TOKENS, use_cache=False)
    return (out if isinstance(out, Tensor) else out.logits).float().log_softmax(-1)


def furthest(actual: Tensor, expected: Tensor) -> float:
    return (actual - expected).abs().max().item()


def refusal(name: str | Path, **options) -> str:
    """The one line that says why the model is not loaded."""
    with pytest.raises(InputError) as caught:
        models.load(str(name), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, change) -> None:
    """Rewrite the weights file as ``change`` leaves it."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


# --- What a loaded model predicts


@every_kind
def test_predicts_what_the_hugging_face_model_predicts(kind, bridges, hf_models):
    assert furthest(log_probabilities(bridges[kind]), log_probabilities(hf_models[kind])) < 1e-4


@every_kind
def test_predicts_the_same_block_by_block(kind, bridges, hf_models):
    by_block = blocks.run_order(bridges[kind], TOKENS, range(kinds.LAYERS)).log_softmax(-1)
    assert furthest(by_block, log_probabilities(hf_models[kind])) < 1e-4


@every_kind
def test_blocks_exchanged_predict_what_the_hugging_face_model_with_exchanged_layers_predicts(
    kind, bridges, checkpoints
):
    model = hf_model(checkpoints[kind])
    body = model.base_model
    layers = body.h if hasattr(body, "h") else body.layers
    layers[1], layers[2] = layers[2], layers[1]
    exchanged = blocks.run_order(bridges[kind], TOKENS, [0, 2, 1, 3]).log_softmax(-1)
    assert furthest(exchanged, log_probabilities(model)) < 1e-4
    assert furthest(exchanged, log_probabilities(bridges[kind])) > 0.1


@every_kind
def test_final_norm_is_folded_so_that_normalising_by_hand_gives_the_predictions(kind, bridges, hf_models):
    bridge = bridges[kind]
    inputs, residual = blocks.record_inputs(bridge, TOKENS), blocks.embed(bridge, TOKENS)
    for layer in range(kinds.LAYERS):
        residual = blocks.run_block(bridge, layer, residual, inputs)
    if kind in kinds.LAYER_NORM_KINDS:
        residual = residual - residual.mean(-1, keepdim=True)
    normalised = residual / (residual.square().mean(-1, keepdim=True) + bridge.cfg.eps).sqrt()
    predicted = (normalised @ bridge.W_U + bridge.b_U).log_softmax(-1)
    assert furthest(predicted, log_probabilities(hf_models[kind])) < 1e-4


@every_kind
def test_unembedding_is_centred_over_the_vocabulary(kind, bridges):
    W_U = bridges[kind].W_U
    assert W_U.shape == (kinds.WIDTH, bridges[kind].original_model.config.vocab_size)
    assert W_U.mean(-1).abs().max() < 1e-6
    assert W_U.std() > 0.05


@every_kind
def test_residual_stream_is_centred_for_layer_norm_only(kind, bridges, hf_models):
    bridge = bridges[kind]
    inputs, residual = blocks.record_inputs(bridge, TOKENS), blocks.embed(bridge, TOKENS)
    expected = hf_models[kind](TOKENS, use_cache=False, output_hidden_states=True).hidden_states
    for layer in range(kinds.LAYERS):  # the last hidden state is given out after the final norm
        plain = expected[layer]
        means = plain.mean(-1, keepdim=True)
        assert furthest(residual, plain - means if kind in kinds.LAYER_NORM_KINDS else plain) < 1e-4
        residual = blocks.run_block(bridge, layer, residual, inputs)
    assert means.abs().max() > 0.05  # in the last layer at least, there was something to take away


@every_kind
def test_dropout_is_off_and_nothing_asks_for_gradients(kind, checkpoints):
    bridge = models.load(str(checkpoints[kind]))
    out = bridge(TOKENS, use_cache=False)
    assert not any(module.training for module in bridge.modules())
    assert torch.is_grad_enabled()  # as before, for whoever trains in the same process
    assert not out.requires_grad
    assert torch.equal(out, bridge(TOKENS, use_cache=False))


def test_bundled_model_is_stored_in_half_and_loaded_in_single_precision(bridges):
    stored = load_file(paths.BUNDLED_MODELS / "pocket" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert {parameter.dtype for parameter in bridges["pocket"].parameters()} == {torch.float32}
    assert models.context_limit(bridges["pocket"]) == 256


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_bfloat16_is_a_cast_of_the_folded_float32_weights(kind, checkpoints, bridges):
    half = models.load(str(checkpoints[kind]), dtype="bfloat16")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert torch.equal(half.W_U, bridges[kind].W_U.bfloat16())
    assert 0 < furthest(log_probabilities(half), log_probabilities(bridges[kind])) < 0.3


def test_context_limit_is_the_number_of_positions(bridges):
    assert models.context_limit(bridges["gpt2"]) == models.context_limit(bridges["llama"]) == kinds.CONTEXT


def test_original_gpt2_layout_without_a_prefix_loads(copied, bridges):
    folder = copied("gpt2")
    edit_weights(folder, lambda weights: [weights.update({k[12:]: weights.pop(k)}) for k in list(weights)])
    assert "wte.weight" in load_file(folder / "model.safetensors")
    assert torch.equal(log_probabilities(models.load(str(folder))), log_probabilities(bridges["gpt2"]))


def test_weights_in_several_files_load_and_a_lost_one_is_named(copied, hf_models, bridges):
    folder = copied("llama")
    (folder / "model.safetensors").unlink()
    hf_models["llama"].save_pretrained(folder, max_shard_size="1MB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert torch.equal(log_probabilities(models.load(str(folder))), log_probabilities(bridges["llama"]))
    shards[-1].unlink()
    assert shards[-1].name in refusal(folder)


# --- Names


def test_every_model_of_the_paper_has_an_alias():
    families = {
        "openai-community/gpt2": ["", "-medium", "-large", "-xl"],
        "EleutherAI/pythia": ["-410m", "-1.4b", "-2.8b", "-6.9b", "-12b"],
        "microsoft/phi": ["-1", "-1_5", "-2"],
        "meta-llama/Llama-3.2": ["-1b", "-3b"],
        "Qwen/Qwen2.5": ["-0.5b", "-1.5b", "-3b", "-14b"],
    }
    expected = {(family + size).lower() for family, sizes in families.items() for size in sizes}
    assert len(expected) == 18
    assert {hub_id.lower().removesuffix("-deduped") for hub_id in sources.ALIASES.values()} == expected
    assert set(presets.read("paper")["models"]) == set(sources.ALIASES)
    for alias, hub_id in sources.ALIASES.items():
        assert hub_id.split("/")[1].lower().removesuffix("-deduped") == alias


def test_bundled_model_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sources.find("pocket").folder == paths.BUNDLED_MODELS / "pocket"


@pytest.mark.parametrize("name", ["pocket", "gpt2", "openai-community/gpt2"])
def test_existing_folder_wins_over_bundled_model_alias_and_hub(name, copied, tmp_path, monkeypatch, bridges):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    copied("gpt2").rename(name)
    assert sources.find(name).folder == tmp_path / name
    assert torch.equal(log_probabilities(models.load(name)), log_probabilities(bridges["gpt2"]))


def test_revision_of_a_local_folder_is_its_subfolder(tmp_path, checkpoints):
    for step in ("step10", "step20"):
        shutil.copytree(checkpoints["gpt2"], tmp_path / "run" / step)
    source = sources.find(f"{tmp_path}/run@step20")
    assert (source.folder, source.revision, source.untrained) == (tmp_path / "run" / "step20", "step20", False)
    twin = sources.find(f"{tmp_path}/run@step10@untrained")
    assert (twin.folder, twin.revision, twin.untrained) == (tmp_path / "run" / "step10", "step10", True)
    message = refusal(f"{tmp_path}/run@step30")
    assert "step30" in message and "step10, step20" in message


def test_folder_with_an_at_sign_in_its_name_is_no_revision(copied, tmp_path):
    folder = copied("gpt2").rename(tmp_path / "me@work")
    assert sources.find(str(folder)).folder == folder
    assert sources.find(f"{folder}@untrained").folder == folder
    assert re.fullmatch(r"me@work-[0-9a-f]{6}@untrained", paths.model_folder(f"{folder}@untrained"))


def test_output_folder_is_named_after_the_model():
    assert paths.model_folder("gpt2") == "gpt2"
    assert paths.model_folder("gpt2@untrained") == "gpt2@untrained"
    assert paths.model_folder("EleutherAI/pythia-410m@step1000") == "EleutherAI--pythia-410m@step1000"
    assert paths.model_folder("owner/name@refs/pr/1@untrained") == "owner--name@refs--pr--1@untrained"
    assert paths.results("gpt2") == paths.output() / "results" / "gpt2"


def test_a_single_word_means_a_folder_only_if_that_holds_a_model(tmp_path, monkeypatch):
    (tmp_path / "pocket").mkdir()
    monkeypatch.chdir(tmp_path)
    assert paths.model_folder("pocket") == "pocket"
    assert sources.find("pocket").folder == paths.BUNDLED_MODELS / "pocket"
    assert paths.model_folder("./pocket") != "pocket"
    shutil.copy(paths.BUNDLED_MODELS / "pocket" / "config.json", tmp_path / "pocket")
    assert paths.model_folder("pocket") == paths.model_folder("./pocket")


def test_two_local_folders_of_the_same_name_do_not_share_output(tmp_path, monkeypatch):
    first, second = tmp_path / "a" / "final", tmp_path / "b" / "final"
    first.mkdir(parents=True)
    second.mkdir(parents=True)
    (first / "config.json").write_text("{}")
    names = {paths.model_folder(str(folder)) for folder in (first, second)}
    assert len(names) == 2
    assert all(re.fullmatch(r"final-[0-9a-f]{6}", name) for name in names)
    monkeypatch.chdir(tmp_path / "a")
    assert paths.model_folder("final") == paths.model_folder("./final/") == paths.model_folder(str(first))
    assert paths.model_folder("final@step1") == f"{paths.model_folder('final')}@step1"


def test_file_hashes_change_with_the_weights_and_leave_them_out_for_an_untrained_twin(copied):
    folder = copied("gpt2")
    before = sources.find(str(folder)).file_hashes()
    assert set(before) >= {"config.json", "model.safetensors", "tokenizer.json"}
    edit_weights(folder, lambda weights: weights["transformer.ln_f.bias"].add_(1))
    after = sources.find(str(folder)).file_hashes()
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}
    twin = sources.find(f"{folder}@untrained").file_hashes()
    assert twin == {name: digest for name, digest in before.items() if name != "model.safetensors"}


# --- Untrained twins


def test_untrained_twin_is_drawn_from_the_seed(checkpoints, bridges):
    name = f"{checkpoints['neox_sequential']}@untrained"
    first, again, other = (log_probabilities(models.load(name, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert furthest(first, other) > 0.1
    assert furthest(first, log_probabilities(bridges["neox_sequential"])) > 0.1


@every_kind
def test_untrained_twin_needs_no_weights(kind, copied, bridges):
    folder = copied(kind)
    (folder / "model.safetensors").unlink()
    twin = models.load(f"{folder}@untrained")
    shapes = {name: parameter.shape for name, parameter in bridges[kind].named_parameters()}
    assert {name: parameter.shape for name, parameter in twin.named_parameters()} == shapes


# --- Refusals: each names the model, the cause and what to do


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["/no/such/folder", "./runs/final", "a/b/c", "~/no-such-folder"])
def test_refuses_a_folder_that_is_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(name)
    assert f"no folder {name}" in message and "check the path" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["gtp2", "gtp2@main", "gtp2@untrained"])
def test_refuses_an_unknown_alias_and_lists_those_there_are(name):
    message = refusal(name)
    assert "gtp2" in message
    assert all(alias in message for alias in ("pocket", "gpt2-xl", "pythia-410m", "qwen2.5-3b"))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["", "@untrained", "@main"])
def test_refuses_a_name_without_a_model(name):
    assert "incomplete" in refusal(name)


@pytest.mark.bad_input
def test_refuses_a_revision_the_bundled_model_does_not_have():
    assert "pocket has no revision v2; it has: step100, step1000, step3700" in refusal("pocket@v2")


@pytest.mark.bad_input
def test_refuses_an_unknown_dtype_and_lists_those_there_are():
    message = refusal("pocket", dtype="int8")
    assert "'int8'" in message and "float32, bfloat16" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("device", ["toaster", "cuda:99", ""])
def test_refuses_a_device_this_machine_does_not_have(device):
    message = refusal("pocket", device=device)
    assert repr(device) in message and "use cpu" in message


@pytest.mark.bad_input
def test_refuses_a_folder_without_a_config(copied):
    folder = copied("gpt2")
    (folder / "config.json").unlink()
    message = refusal(folder)
    assert str(folder) in message and "no config.json" in message


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"model_type": "zzz"}',
        '{"model_type": "gpt2", "n_embd": "64"}',
        '{"model_type": "gpt2", "dtype": "zzz"}',
    ],
)
def test_refuses_a_config_that_says_nothing_usable(content, copied):
    folder = copied("gpt2")
    (folder / "config.json").write_text(content)
    message = refusal(folder)
    assert str(folder) in message and "config.json" in message


@pytest.mark.bad_input
def test_refuses_a_model_that_looks_ahead(copied):
    folder = copied("gpt2")
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    BertForMaskedLM(BertConfig(**sizes, vocab_size=kinds.VOCABULARY)).save_pretrained(folder)
    message = refusal(folder)
    assert str(folder) in message and "looks ahead" in message and "GPT-like" in message


@pytest.mark.bad_input
def test_refuses_an_encoder_decoder(copied):
    folder = copied("gpt2")
    sizes = dict(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(T5Config(**sizes, vocab_size=kinds.VOCABULARY)).save_pretrained(folder)
    message = refusal(folder)
    assert str(folder) in message and "t5" in message and "not a causal decoder" in message


@pytest.mark.bad_input
def test_refuses_a_folder_without_weights(copied):
    folder = copied("gpt2")
    (folder / "model.safetensors").unlink()
    message = refusal(folder)
    assert str(folder) in message and "no weights" in message and "safetensors" in message


@pytest.mark.bad_input
def test_refuses_pickled_weights_without_opening_them(copied):
    folder = copied("gpt2")
    (folder / "model.safetensors").unlink()
    witness = folder / "opened"
    command = f"cos\nsystem\n(S'touch {witness}'\ntR."  # a pickle that runs this when it is loaded
    (folder / "pytorch_model.bin").write_text(command)
    message = refusal(folder)
    assert str(folder) in message and "pytorch_model.bin" in message and "save_pretrained" in message
    assert not witness.exists()


@pytest.mark.bad_input
@pytest.mark.parametrize("kept", [0, 4, 1000, 500_000, -1])
def test_refuses_weights_that_were_cut_off(kept, copied):
    weights = copied("gpt2") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    message = refusal(weights.parent)
    assert str(weights.parent) in message and "damaged" in message and "again" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_weights_that_are_not_numbers(value, copied):
    folder = copied("llama")
    edit_weights(folder, lambda weights: weights["model.layers.2.mlp.up_proj.weight"][5].fill_(value))
    message = refusal(folder)
    assert str(folder) in message and "not finite" in message and "download" in message


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kind", "absent", "named"),
    [
        ("neox_parallel", "embed_out.weight", "lm_head.weight"),  # transformers 5 calls it by its new name
        ("llama", "lm_head.weight", "lm_head.weight"),
        ("gpt2", "transformer.h.3.mlp.c_proj.bias", "transformer.h.3.mlp.c_proj.bias"),
    ],
)
def test_refuses_weights_with_a_parameter_left_out(kind, absent, named, copied):
    folder = copied(kind)
    edit_weights(folder, lambda weights: weights.pop(absent))
    message = refusal(folder)
    assert str(folder) in message and named in message and "1 parameters are not in" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("change", [{"n_head": 5}, {"activation_function": "zzz"}, {"n_layer": 5}])
def test_refuses_a_config_the_weights_do_not_go_with(change, copied):
    folder = copied("gpt2")
    edit_json(folder / "config.json", **change)
    message = refusal(folder)
    assert str(folder) in message and "config.json" in message


@pytest.mark.bad_input
def test_refuses_a_quantised_model(copied):
    folder = copied("llama")
    edit_json(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    message = refusal(folder)
    assert str(folder) in message and "is quantised: choose its weights" in message


@pytest.mark.bad_input
def test_refuses_weights_of_another_size(copied):
    folder = copied("llama")
    edit_json(folder / "config.json", intermediate_size=128)
    message = refusal(folder)
    assert str(folder) in message


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "phi", "llama", "qwen2"])
def test_refuses_a_folder_without_a_tokenizer(kind, copied):
    folder = copied(kind)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    message = refusal(folder)
    assert str(folder) in message and "tokenizer" in message and "folder" in message


@pytest.mark.bad_input
def test_refuses_a_tokenizer_that_is_cut_off(copied):
    file = copied("gpt2") / "tokenizer.json"
    file.write_text(file.read_text()[:1000])
    message = refusal(file.parent)
    assert str(file.parent) in message and "tokenizer" in message


@pytest.mark.bad_input
def test_refuses_a_tokenizer_with_more_ids_than_the_embedding_has_rows(copied):
    folder = copied("gpt2")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    extra = {**tokenizer["added_tokens"][0], "id": kinds.VOCABULARY, "content": "<|one_too_many|>"}
    tokenizer["added_tokens"].append(extra)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    message = refusal(folder)
    assert str(folder) in message and f"{kinds.VOCABULARY + 1} ids" in message and f"{kinds.VOCABULARY} rows" in message


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", kinds.ROTARY_KINDS)
def test_refuses_a_model_whose_blocks_are_run_without_rotary_embeddings(kind, checkpoints, monkeypatch):
    record = blocks.record_inputs

    def forgetful(bridge, tokens):
        recorded = record(bridge, tokens)
        for inputs in recorded:
            assert inputs.kwargs.pop("position_embeddings") is not None
        return recorded

    monkeypatch.setattr(blocks, "record_inputs", forgetful)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TransformerLens notices for some kinds, and goes on
        message = refusal(checkpoints[kind])
    assert str(checkpoints[kind]) in message and "block by block" in message and "not supported" in message
    assert float(re.search(r"off by ([\d.]+)", message)[1]) > 0.05  # plain to see in these checkpoints


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "phi"])
def test_refuses_a_model_that_predicts_differently_once_its_norms_are_folded(kind, checkpoints, monkeypatch):
    fold = TransformerBridge.enable_compatibility_mode

    def fold_badly(bridge, **options):
        fold(bridge, **options)
        bridge.unembed.b_U.data.zero_()  # the final norm's bias, folded into the unembedding, is lost

    monkeypatch.setattr(TransformerBridge, "enable_compatibility_mode", fold_badly)
    message = refusal(checkpoints[kind])
    assert str(checkpoints[kind]) in message and "after folding its norms" in message


@pytest.mark.bad_input
def test_refuses_a_model_that_transformer_lens_cannot_wrap(checkpoints, monkeypatch):
    def cannot(*_args, **_options):
        raise ValueError("Unsupported architecture: Zzz\nmore lines")

    monkeypatch.setattr(TransformerBridge, "boot_transformers", cannot)
    message = refusal(checkpoints["gpt2"])
    assert str(checkpoints["gpt2"]) in message and "TransformerLens cannot wrap a gpt2 model" in message
