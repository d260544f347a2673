"""Checkpoints from the internet are not to be trusted: each kind of bad one, and the one line that refuses it.

The tables say what is done to a good checkpoint, and what the refusal must say. What is in `BEFORE` is refused before
any weights are allocated, `UNTRAINED` for a twin that needs no weights, `LATER` while the model is loaded and checked.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import models
from helpers.engine import announced, architectures, sources
from helpers.errors import InputError

Change = Callable[[Path], object]
WEIGHTS, INDEX, SHARD = "model.safetensors", "model.safetensors.index.json", "model-00001-of-00001.safetensors"
UP_PROJECTION = "model.layers.1.mlp.up_proj.weight"
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
NAN, INFINITE = float("nan"), float("inf")
BY_CONFIG = "config.json cannot be used"
HELD = "its weights files hold 4 and 369,216: download or save the model again"
NO_FILE = "no safetensors file in the model's folder"
DAMAGED = "a weights file is damaged, download or save it again"
TOKENIZER = "the tokenizer does not load"


def config(**changes: object) -> Change:
    return lambda folder: _edit(folder / "config.json", lambda content: content | changes)


def tokenizer(change: Callable[[dict], object]) -> Change:
    return lambda folder: _edit(folder / "tokenizer.json", lambda content: change(content) or content)


def written(name: str, content: str | bytes, *others: Change) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        for other in others:
            other(folder)

    return change


def pipe(name: str) -> Change:
    return lambda folder: ((folder / name).unlink(missing_ok=True), os.mkfifo(folder / name))


def link(name: str, to: str) -> Change:
    return lambda folder: ((folder / name).unlink(), (folder / name).symlink_to(to))


def moved_out(name: str) -> Change:
    return lambda folder: (folder / name).symlink_to(shutil.move(folder / name, folder.parent / f"moved {name}"))


def as_long_as(name: str, size: int) -> Change:
    return lambda folder: os.truncate(folder / name, size)


def header(content: object, tail: bytes = b"") -> Change:
    encoded = json.dumps(content).encode()
    return written(WEIGHTS, len(encoded).to_bytes(8, "little") + encoded + tail)


def tensor(*shape: int, dtype: str = "F32", offsets: tuple[int, int] = (0, 4)) -> dict:
    return {"model.embed_tokens.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def edit(folder: Path) -> None:
        stored = load_file(folder / WEIGHTS)
        change(stored)
        save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})

    return edit


def stored_as(**how: object) -> Change:
    return weights(lambda stored: stored.update({UP_PROJECTION: stored[UP_PROJECTION].to(**how)}))


def index(of: Callable[[list[str]], object]) -> Change:
    """The weights as a shard beside the index that ``of`` makes of their names."""

    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / SHARD)
        content = of(list(load_file(folder / SHARD)))
        (folder / INDEX).write_text(content if isinstance(content, str) else json.dumps(content))

    return change


def mapped_to(shard: object, **others: object) -> Change:
    return index(lambda names: {"metadata": {}, "weight_map": dict.fromkeys(names, shard) | others})


def one_tensor_twice(folder: Path) -> None:
    index(lambda names: {"metadata": {}, "weight_map": dict.fromkeys(names, SHARD) | {"more": "more.safetensors"}})(
        folder
    )
    save_file({UP_PROJECTION: torch.zeros(2)}, folder / "more.safetensors")


def a_terabyte(folder: Path) -> None:
    size = 2**40
    header(tensor(size // 256, 64, offsets=(0, size)))(folder)
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size + size)


def _edit(file: Path, change: Callable[[dict], dict]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def replacements(step: str) -> Change:
    return tokenizer(lambda t: t.update(normalizer={"type": "Sequence", "normalizers": [json.loads(step)] * 8}))


BEFORE: dict[str, tuple[Change, str]] = {
    "a million layers": (config(num_hidden_layers=10**6), "announces 1,000,000 layers, more than 1,000"),
    "thousands of layers": (config(num_hidden_layers=3000), "announces 3,000 layers"),
    "more layers than there are": (config(num_hidden_layers=400), "announces 400 layers"),
    "a billion dimensions": (config(hidden_size=10**9), HELD),
    "more dimensions than can be counted": (config(hidden_size=10**18), BY_CONFIG),
    "a billion tokens": (config(vocab_size=10**9), HELD),
    "a billion MLP neurons": (config(intermediate_size=10**9), HELD),
    "a billion key heads": (config(num_key_value_heads=10**9), HELD),
    "huge heads": (config(head_dim=10**9), HELD),
    "a billion heads": (config(num_attention_heads=10**9), BY_CONFIG),
    "no layers": (config(num_hidden_layers=0), "num_hidden_layers is 0: mend it"),
    "a negative number of layers": (config(num_hidden_layers=-4), "num_hidden_layers is -4: mend it"),
    "layers as text": (config(num_hidden_layers="4"), "field 'num_hidden_layers'"),
    "half a layer": (config(num_hidden_layers=4.5), "field 'num_hidden_layers'"),
    "null layers": (config(num_hidden_layers=None), "field 'num_hidden_layers'"),
    "layers that are true": (config(num_hidden_layers=True), "field 'num_hidden_layers'"),
    "a list of widths": (config(hidden_size=[64]), "field 'hidden_size'"),
    "an infinite width": (config(hidden_size=INFINITE), "field 'hidden_size'"),
    "no width": (config(hidden_size=0), "hidden_size is 0: mend it"),
    "a negative width": (config(hidden_size=-64), "hidden_size is -64: mend it"),
    "no tokens": (config(vocab_size=0), "vocab_size is 0: mend it"),
    "a negative vocabulary": (config(vocab_size=-1), "vocab_size is -1: mend it"),
    "negative heads": (config(num_attention_heads=-4), "num_attention_heads is -4: mend it"),
    "no heads": (config(num_attention_heads=0), BY_CONFIG),
    "no key heads": (config(num_key_value_heads=0), BY_CONFIG),
    "negative MLP neurons": (config(intermediate_size=-1), BY_CONFIG),
    "no context": (config(max_position_embeddings=0), "max_position_embeddings is 0: mend it"),
    "a negative context": (config(max_position_embeddings=-1), "max_position_embeddings is -1: mend it"),
    "a padding token out of range": (config(pad_token_id=10**6), BY_CONFIG),
    "an unknown activation": (config(hidden_act="zzz"), BY_CONFIG),
    "an unknown rotary embedding": (config(rope_parameters={"rope_type": "zzz"}), BY_CONFIG),
    "rotary parameters that are a number": (config(rope_parameters=5), BY_CONFIG),
    "no model type": (config(model_type=None), "no model_type that is known here (None)"),
    "a model type that is a number": (config(model_type=5), "no model_type that is known here (5)"),
    "an unknown model type": (config(model_type="zzz"), "no model_type that is known here ('zzz')"),
    "a model type of control characters": (config(model_type="\x1b[31m\n\ud800"), r"('\x1b[31m\n\ud800')"),
    "code of its own": (
        config(model_type="zzz", auto_map={"AutoConfig": "evil.C"}),
        "no model_type that is known here ('zzz'); code of a model's own is never run",
    ),
    "quantised weights": (config(quantization_config={"quant_method": "mxfp4"}), "is quantised: choose"),
    "weights named by the config": (config(transformers_weights="../x.safetensors"), "names other weights files"),
    "an adapter": (written("adapter_config.json", "{}"), "is an adapter of another model: merge it"),
    "a config nested too deeply": (written("config.json", "[" * 10**5), "config.json cannot be read"),
    "a config cut in the middle": (written("config.json", '{"model_type": "lla'), "config.json cannot be read"),
    "a config that is a list": (written("config.json", "[]"), "config.json is no mapping"),
    "a config of 100 MB": (as_long_as("config.json", 10**8), "config.json has 100,000,000 bytes, too many"),
    "a config of null bytes": (written("config.json", bytes(99)), "config.json is binary, not text"),
    "a config in UTF-16": (written("config.json", "{}".encode("utf-16")), "config.json is UTF-16, not UTF-8"),
    "a config in a pipe": (pipe("config.json"), "no config.json in"),
    "a config that links to itself": (link("config.json", "config.json"), "no config.json in"),
    "a config without an end": (link("config.json", "/dev/zero"), "no config.json in"),
    "a config from elsewhere": (moved_out("config.json"), "config.json is a link out of the model's folder"),
    "weights from elsewhere": (moved_out(WEIGHTS), "model.safetensors is a link out of the model's folder"),
    "a tokenizer from elsewhere": (moved_out("tokenizer.json"), "tokenizer.json is a link out of the model's folder"),
    "weights that link to themselves": (link(WEIGHTS, WEIGHTS), "model.safetensors is no link that can be followed"),
    "weights without an end": (link(WEIGHTS, "/dev/zero"), "model.safetensors is a link out of"),
    "weights in a pipe": (pipe(WEIGHTS), "model.safetensors is a pipe, not a file"),
    "a tokenizer in a pipe": (pipe("tokenizer.json"), "tokenizer.json is a pipe, not a file"),
    "a note in a pipe": (pipe("notes.txt"), "notes.txt is a pipe, not a file"),
    "a folder called as a file": (
        lambda folder: (folder / "added_tokens.json").mkdir(),
        "added_tokens.json is a folder, not a file",
    ),
    "a tokenizer of a gigabyte": (as_long_as("tokenizer.json", 10**9), "tokenizer.json has 1,000,000,000 bytes"),
    "weights of a terabyte": (a_terabyte, "GB of memory"),
    "weights that go on after their end": (as_long_as(WEIGHTS, 2**30), DAMAGED),
    "a header of exabytes": (written(WEIGHTS, (2**62).to_bytes(8, "little") + b"{}"), DAMAGED),
    "a header longer than its file": (written(WEIGHTS, (9 * 10**7).to_bytes(8, "little") + b"{}"), DAMAGED),
    "a header that is no JSON": (written(WEIGHTS, (8).to_bytes(8, "little") + b"xxxxxxxx"), DAMAGED),
    "a header nested too deeply": (written(WEIGHTS, (10**5).to_bytes(8, "little") + b"[" * 10**5), DAMAGED),
    "a header that is a list": (header([]), DAMAGED),
    "a header of nothing": (header({}), "its weights files hold 0 and 0"),
    "a tensor of a terabyte in a small file": (header(tensor(2**32, 64, offsets=(0, 2**40))), DAMAGED),
    "a tensor beyond all counting": (header(tensor(2**63, 2**63)), DAMAGED),
    "a tensor of negative length": (header(tensor(-1)), DAMAGED),
    "a tensor of unknown type": (header(tensor(1, dtype="ZZZ"), bytes(4)), DAMAGED),
    "two tensors in one place": (header(tensor(1) | {"more": tensor(1).popitem()[1]}, bytes(4)), DAMAGED),
    "a tensor of another length than its shape": (header(tensor(3), bytes(4)), DAMAGED),
    "layers without anything in them": (
        header({f"model.layers.{i}.x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(900)}),
        "its weights files hold 900 and 0",
    ),
    "whole numbers for weights": (stored_as(dtype=torch.int64), f"{UP_PROJECTION} is stored as I64"),
    "truth values for weights": (stored_as(dtype=torch.bool), f"{UP_PROJECTION} is stored as BOOL"),
    "complex weights": (stored_as(dtype=torch.complex64), f"{UP_PROJECTION} is stored as C64"),
    "weights of eight bits": (stored_as(dtype=torch.float8_e4m3fn), f"{UP_PROJECTION} is stored as F8_E4M3"),
    "a shard outside the folder": (mapped_to("../x.safetensors"), f"names '../x.safetensors', {NO_FILE}"),
    "a shard below the folder": (mapped_to("below/x.safetensors"), f"names 'below/x.safetensors', {NO_FILE}"),
    "a shard at an absolute path": (mapped_to("/etc/x.safetensors"), f"names '/etc/x.safetensors', {NO_FILE}"),
    "a pickle for a shard": (mapped_to("pytorch_model.bin"), f"names 'pytorch_model.bin', {NO_FILE}"),
    "a shard without a name": (mapped_to(""), f"names '', {NO_FILE}"),
    "a shard called by a dot": (mapped_to("."), f"names '.', {NO_FILE}"),
    "a shard called by a number": (mapped_to(5), f"names 5, {NO_FILE}"),
    "a shard called null": (mapped_to(None), f"names None, {NO_FILE}"),
    "a list of shards": (mapped_to([SHARD]), f"names ['{SHARD}'], {NO_FILE}"),
    "one strange shard among good ones": (mapped_to(SHARD, more="../x.bin"), f"names '../x.bin', {NO_FILE}"),
    "a shard with a null byte": (mapped_to("a\0b.safetensors"), "the weights file a\\x00b.safetensors is missing"),
    "a lost shard": (mapped_to("model-2.safetensors"), "the weights file model-2.safetensors is missing"),
    "a tensor in two shards": (one_tensor_twice, f"{UP_PROJECTION} is in two weights files"),
    "an index that is a list": (index(lambda _: []), "has no mapping 'weight_map'"),
    "an index that is null": (index(lambda _: None), "has no mapping 'weight_map'"),
    "an index of nothing": (index(lambda _: {}), "has no mapping 'weight_map'"),
    "an index of a list": (index(lambda _: {"metadata": {}, "weight_map": []}), "has no mapping 'weight_map'"),
    "an index without metadata": (index(lambda n: {"weight_map": dict.fromkeys(n, SHARD)}), "or 'metadata'"),
    "an index cut in the middle": (index(lambda _: '{"weight_map": '), f"{INDEX} cannot be read"),
    "an index nested too deeply": (index(lambda _: "[" * 10**5), f"{INDEX} cannot be read"),
    "weights under another name": (lambda f: (f / WEIGHTS).rename(f / "w.safetensors"), f"neither {WEIGHTS} nor"),
    "a tokenizer that is empty": (written("tokenizer.json", ""), "tokenizer.json cannot be read"),
    "a tokenizer that is a list": (written("tokenizer.json", "[]"), "tokenizer.json cannot be read"),
    "a tokenizer of nothing": (written("tokenizer.json", "{}"), TOKENIZER),
    "a tokenizer nested too deeply": (written("tokenizer.json", "[" * 10**5), "tokenizer.json cannot be read"),
    "a tokenizer in UTF-16": (written("tokenizer.json", "{}".encode("utf-16")), "tokenizer.json is UTF-16"),
    "a tokenizer with an id out of range": (
        tokenizer(lambda t: t["model"]["vocab"].update(zzzzq=10**6)),
        "the tokenizer has 1000001 ids, the embedding only 1536 rows",
    ),
    "a tokenizer whose ids begin elsewhere": (
        tokenizer(lambda t: t["model"].update(vocab={k: i + 1000 for k, i in t["model"]["vocab"].items()})),
        "the tokenizer has 2536 ids",
    ),
    "a tokenizer with a negative id": (tokenizer(lambda t: t["model"]["vocab"].update(zzzzq=-1)), TOKENIZER),
    "a tokenizer with an id beyond 32 bits": (tokenizer(lambda t: t["model"]["vocab"].update(zzzzq=2**40)), TOKENIZER),
    "a tokenizer without a vocabulary": (tokenizer(lambda t: t["model"].pop("vocab") and None), TOKENIZER),
    "a tokenizer of an empty vocabulary": (
        tokenizer(lambda t: t["model"].update(vocab={}, merges=[])),
        "does not give back a sentence",
    ),
    "a tokenizer that merges what is not there": (
        tokenizer(lambda t: t["model"].update(merges=[["q", "@@"]])),
        TOKENIZER,
    ),
    "a tokenizer that merges numbers": (tokenizer(lambda t: t["model"].update(merges=[5])), TOKENIZER),
    "a tokenizer of unknown kind": (tokenizer(lambda t: t["model"].update(type="Zzz")), TOKENIZER),
    "a tokenizer that floods": (
        replacements('{"type": "Replace", "pattern": {"String": "e"}, "content": "eeeeeeeeee"}'),
        "the tokenizer makes up to 214,358,881 characters of one",
    ),
    "a tokenizer with a broken pattern": (
        tokenizer(lambda t: t.update(pre_tokenizer=SPLIT | {"pattern": {"Regex": "("}})),
        TOKENIZER,
    ),
    "a tokenizer with code of its own": (
        written("tokenizer_config.json", '{"tokenizer_class": "E", "auto_map": {"AutoTokenizer": [null, "evil.T"]}}'),
        TOKENIZER,
    ),
    "settings of a tokenizer that are a list": (written("tokenizer_config.json", "[]"), TOKENIZER),
    "settings of a tokenizer cut in the middle": (written("tokenizer_config.json", "{"), TOKENIZER),
    "a BOS that is a number": (written("tokenizer_config.json", '{"bos_token": 5}'), TOKENIZER),
    "special tokens that are a list": (written("special_tokens_map.json", "[1]"), TOKENIZER),
}  # fmt: skip

UNTRAINED: dict[str, tuple[Change, str]] = {
    "a million layers": (config(num_hidden_layers=10**6), "announces 1,000,000 layers"),
    "a vocabulary larger than memory": (config(vocab_size=10**12), "GB of memory"),
    "a width larger than memory": (config(hidden_size=2**24), "GB of memory"),
    "an unknown activation": (config(hidden_act="zzz"), BY_CONFIG),
    "a padding token out of range": (config(pad_token_id=10**6), BY_CONFIG),
    "no heads": (config(num_attention_heads=0), BY_CONFIG),
    "a negative spread of weights": (config(initializer_range=-1.0), BY_CONFIG),
}

LATER: dict[str, tuple[Change, str]] = {
    "other key heads": (config(num_key_value_heads=4), "has shape (32, 64) in the weights file, (64, 64) by"),
    "another MLP": (config(intermediate_size=99), "has shape (64, 160) in the weights file, (64, 99) by config.json"),
    "a norm without dimensions": (
        weights(lambda stored: stored.update({"model.norm.weight": torch.tensor(1.0)})),
        "model.norm.weight has shape () in the weights file",
    ),
    "weights on their side": (
        weights(lambda stored: stored.update({"lm_head.weight": stored["lm_head.weight"].T.contiguous()})),
        "lm_head.weight has shape (64, 1536) in the weights file",
    ),
    "weights that float32 cannot hold": (
        weights(lambda stored: stored.update({UP_PROJECTION: torch.full((160, 64), 1e300, dtype=torch.float64)})),
        "has values that are not finite",
    ),
    "weights at the end of all numbers": (
        weights(lambda stored: [values.fill_(1e38) for values in stored.values()]),
        "off by nan",
    ),
    "layers beyond those announced": (
        weights(lambda stored: stored.update({"model.layers.99999999999999999999.x": torch.ones(2)})),
        "more layers than config.json says",
    ),
    "a negative epsilon": (config(rms_norm_eps=-1.0), "predicts values that are not finite"),
    "an epsilon that is no number": (config(rms_norm_eps=NAN), "predicts values that are not finite"),
    "a rotary base of nothing": (
        config(rope_parameters={"rope_type": "default", "rope_theta": 0}),
        "predicts values that are not finite",
    ),
    "architectures that are a number": (config(architectures=5), "TransformerLens cannot wrap a llama model"),
    "the architecture of another model": (config(architectures=["GPT2LMHeadModel"]), "TransformerLens cannot wrap"),
}  # fmt: skip

HARMLESS: dict[str, Change] = {
    "code of its own for a known type": config(auto_map={"AutoModelForCausalLM": "evil.M"}),
    "an unknown attention": config(attn_implementation="zzz"),
    "attention from the Hub": config(attn_implementation="kernels-community/flash-attn"),
    "weights in double precision": stored_as(dtype=torch.float64),
    "settings of generation that are broken": written("generation_config.json", "["),
    "a template that is broken": written("chat_template.jinja", "{% for"),
    "a tensor called by a path": weights(lambda stored: stored.update({"../../x": torch.ones(3)})),
}


def cases(table: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("change", "words"), table.values(), ids=table)


@pytest.fixture
def folder(checkpoints, tmp_path) -> Path:
    """A good checkpoint of one's own, with a witness of code that was run."""
    copied = Path(shutil.copytree(checkpoints["llama"], tmp_path / "m"))
    (copied / "evil.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')")
    return copied


@pytest.fixture(autouse=True)
def nobody_is_asked_and_nothing_foreign_run(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the user is asked whether code shall be run"))
    yield
    assert not (tmp_path / "was run").exists()


@pytest.fixture
def nothing_allocated(monkeypatch):
    for name in ("_trained", "_untrained"):
        monkeypatch.setattr(models, name, lambda *_: pytest.fail("weights were allocated"))


def refusal(name: str) -> str:
    with pytest.raises(InputError) as caught:
        models.load(name)
    message = str(caught.value)
    assert message.isprintable() and len(message) <= 1000
    return message


@pytest.mark.bad_input
@cases(BEFORE)
def test_refused_before_anything_is_allocated(change, words, folder, nothing_allocated):
    change(folder)
    message = refusal(str(folder))
    assert words in message and str(folder) in message


@pytest.mark.bad_input
@cases(UNTRAINED)
def test_an_untrained_twin_is_refused_before_anything_is_allocated(change, words, folder, nothing_allocated):
    change(folder)
    message = refusal(f"{folder}@untrained")
    assert words in message and str(folder) in message


@pytest.mark.bad_input
@cases(LATER)
def test_refused_while_it_is_loaded(change, words, folder):
    change(folder)
    message = refusal(str(folder))
    assert words in message and str(folder) in message


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_harmless_and_loads(change, folder, bridges):
    change(folder)
    tokens = torch.arange(12)[None]
    actual, expected = (bridge(tokens, use_cache=False) for bridge in (models.load(str(folder)), bridges["llama"]))
    assert torch.allclose(actual, expected, atol=1e-5)


@pytest.mark.bad_input
def test_an_untrained_twin_that_cannot_be_run_is_refused(folder):
    config(num_key_value_heads=3)(folder)
    assert "cannot be run: its config.json does not go with its weights" in refusal(f"{folder}@untrained")


@pytest.mark.bad_input
@pytest.mark.parametrize("suffix", ["", "@untrained"])
def test_a_model_that_does_not_fit_into_free_memory_is_refused(suffix, folder, monkeypatch, nothing_allocated):
    source = sources.find(f"{folder}{suffix}")
    skeleton = architectures.skeleton(architectures.read(source))
    memory = SimpleNamespace(free=0, available=4 * 369_216 - 1)  # without the header, which is read as well
    memory.available += 0 if suffix else (folder / WEIGHTS).stat().st_size - 4 * 369_216
    monkeypatch.setattr(announced.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(announced.psutil, "swap_memory", lambda: memory)
    with pytest.raises(InputError, match=r"needs 0\.0 GB of memory, 0\.0 GB are free: choose a smaller model"):
        announced.check_size(source, skeleton)
    memory.available += 1
    announced.check_size(source, skeleton)


@pytest.mark.parametrize("shared", [["tokenizer.json"], ["tokenizer.json", WEIGHTS, "config.json"]])
def test_links_of_the_hubs_cache_are_followed(shared, checkpoints, tmp_path):
    cached = Path(shutil.copytree(checkpoints["llama"], tmp_path / "models--acme--tiny" / "snapshots" / "abc"))
    blobs = tmp_path / "models--acme--tiny" / "blobs"
    blobs.mkdir()
    for name in shared:
        shutil.move(cached / name, blobs / f"blob of {name}")
        (cached / name).symlink_to(Path("../../blobs") / f"blob of {name}")
    assert models.load(str(cached)).cfg.n_layers == 4
    elsewhere = cached.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"is a link out of the model's folder|no config\.json"):
        sources.find(str(elsewhere))


def test_checkpoints_of_one_model_may_share_files_by_links(checkpoints, tmp_path):
    (tmp_path / "run").mkdir()
    step = Path(shutil.copytree(checkpoints["llama"], tmp_path / "run" / "step1"))
    shutil.move(step / "tokenizer.json", tmp_path / "run" / "tokenizer.json")
    (step / "tokenizer.json").symlink_to("../tokenizer.json")
    assert sources.find(f"{tmp_path}/run@step1").folder == step
    with pytest.raises(InputError, match=r"tokenizer\.json is a link out of the model's folder"):
        sources.find(str(step))
