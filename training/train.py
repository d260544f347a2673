"""Train a small GPT-NeoX language model, tokenizer included, from plain text.

    python training/train.py TEXT... --out FOLDER

Text goes in as .txt (one document a file), .jsonl or .jsonl.xz (one document a line, field `text`) or as
folders of these; a Hugging Face folder with tokenizer and model comes out. The defaults are those of the
second part of the training of the bundled model, `pocket`.

Documents are cut at paragraph boundaries into passages of about 3,000 characters, each encoded as
`[BOS] + ids`. The shuffled passages form one long stream; a training example is a window of `context` tokens
of it, each with the token that follows. The matrices of attention are trained with Muon, those of the MLPs
with Muon or AdamW, embeddings and vectors with AdamW. The learning rate warms up, stays constant and then
falls linearly. Losses are in nats per token, and in nats per character of the text, which alone can be
compared between vocabularies.

A run can be stopped at any time. Its state is saved atomically in FOLDER/resume, and everything random
depends on the seed and the step only, so the same command carries on: on a CPU, to the very weights of an
undisturbed run.
"""

import argparse
import copy
import functools
import hashlib
import json
import lzma
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

END_OF_TEXT = "<|endoftext|>"  # id 0 of a tokenizer trained here, both BOS and EOS
PASSAGE_CHARACTERS = 3000
SUFFIXES = (".txt", ".jsonl", ".jsonl.xz")
WEIGHT_DECAY = 0.1
FINAL_RATE = 0.02  # share of the learning rate at which its linear fall ends
# A run can only be continued with the same of these options.
SHAPING_OPTIONS = ["tokenizer", "vocabulary", "layers", "width", "heads", "context", "batch", "steps"]
SHAPING_OPTIONS += ["activation", "mlp_optimizer", "start", "fresh_mlp_outputs"]
SHAPING_OPTIONS += ["learning_rate", "warmup", "decay_from", "precision", "seed"]


class InputError(Exception):
    """Something the user can mend; the message says how, in one line."""


# Text -> documents -> passages -> tokens -> windows


def text_files(paths: Iterable[Path]) -> list[Path]:
    """All text files among `paths` and below its folders, in a fixed order; hidden files are skipped."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist: give an existing file or folder")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        files = [f for f in files if f.name.endswith(SUFFIXES) and f.name[0] != "." and f.is_file()]
        if not files:
            raise InputError(f"no text found in {path}: give {', '.join(SUFFIXES)} files or folders of them")
        found += files
    return list(dict.fromkeys(file.resolve() for file in found))


def read_documents(path: Path) -> list[str]:
    """The documents of one file that hold more than white space."""
    try:
        with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8-sig") as file:
            if path.suffix == ".txt":
                documents = [file.read()]
            else:
                documents = [json.loads(line)["text"] for line in file if line.strip()]
        return [document for document in documents if document.strip()]
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f'cannot read {path}: every line must be JSON such as {{"text": "..."}}') from error
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise InputError(f"cannot read {path} ({error}): give a sound UTF-8 file or leave it out") from error


def paragraphs(document: str) -> list[str]:
    """The parts of a document between blank lines."""
    return [part for part in re.split(r"\n\s*\n", document.strip()) if part]


def passages(documents: Iterable[str]) -> Iterator[str]:
    """Cut documents at the first paragraph boundary after every 3,000 characters; no paragraph is lost."""
    for document in documents:
        passage: list[str] = []
        for paragraph in paragraphs(document):
            passage.append(paragraph)
            if sum(map(len, passage)) >= PASSAGE_CHARACTERS:
                yield "\n\n".join(passage)
                passage = []
        if passage:
            yield "\n\n".join(passage)


def hold_out(documents: list[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split off random documents for validation; of a lone document, the last paragraphs."""
    alone = len(documents) == 1
    parts = paragraphs(documents[0]) if alone else shuffled(documents, seed)
    count = max(1, round(share * len(parts)))
    if count >= len(parts):
        raise InputError("too little text to hold some out: give more, or other files with --validation")
    split = parts[:-count], parts[-count:]
    return tuple(["\n\n".join(part)] for part in split) if alone else split


def shuffled(items: list[str], seed: int) -> list[str]:
    """The items in a random order that depends on the seed only."""
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]


def load_documents(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Training and validation documents; a validation file inside a training folder is not trained on."""
    validation_files = text_files(args.validation or [])
    training_files = [file for file in text_files(args.text) if file not in validation_files]
    train = [document for file in training_files for document in read_documents(file)]
    validation = [document for file in validation_files for document in read_documents(file)]
    if not train or (validation_files and not validation):
        kind = "validation" if train else "training"
        raise InputError(f"no {kind} text found: give files that are not empty, and different ones for both")
    return (train, validation) if validation else hold_out(train, args.held_out, args.seed)


def train_tokenizer(documents: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE of at most `vocabulary` ids, 257 of which let it encode any text at all."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(passages(documents), trainer)
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **special)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer from a folder in Hugging Face format."""
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"no tokenizer.json in {folder}: give a folder that holds a tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises bare Exception on a broken file
        raise InputError(f"cannot load the tokenizer in {folder}: give a folder with a sound one") from error
    if tokenizer.bos_token_id is None:
        raise InputError(f"no BOS token in {folder}: set bos_token in its tokenizer_config.json")
    for note in ("is_local", "local_files_only"):  # how it was loaded does not belong in what is saved
        tokenizer.init_kwargs.pop(note, None)
    return tokenizer


def encode(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Encode each passage as `[BOS] + ids` and join them to one stream, uint32 [n_tokens]."""
    chunks = []
    for start in range(0, len(texts), 1000):
        ids = tokenizer(texts[start : start + 1000], add_special_tokens=False, verbose=False)["input_ids"]
        chunks += [np.array([tokenizer.bos_token_id, *passage], dtype=np.uint32) for passage in ids]
    return np.concatenate(chunks)


def count_windows(stream: np.ndarray, context: int) -> int:
    """How many windows of `context` tokens, each with its next token, a stream holds."""
    return (len(stream) - 1) // context


def windows(stream: np.ndarray, rows: np.ndarray, context: int) -> torch.Tensor:
    """The windows number `rows`, int64 [len(rows), context + 1]; the last token of one begins the next."""
    cut = np.stack([stream[row * context : (row + 1) * context + 1] for row in rows])
    return torch.from_numpy(cut.astype(np.int64))


@functools.lru_cache(maxsize=1)
def epoch_order(seed: int, epoch: int, n_windows: int) -> np.ndarray:
    """The order of the windows in one pass over the text, [n_windows]."""
    return np.random.default_rng([seed, epoch]).permutation(n_windows)


def batch_rows(step: int, batch: int, n_windows: int, seed: int) -> np.ndarray:
    """The windows of one step's batch, [batch]; within a pass no window comes twice."""
    epoch, position = divmod(step, n_windows // batch)
    return epoch_order(seed, epoch, n_windows)[position * batch : (position + 1) * batch]


# Model and optimizers


def build_model(args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> GPTNeoXForCausalLM:
    """A GPT-NeoX with sequential residual: the weights of ``--start``, or fresh ones.

    Of fresh ones the matrices that write to the residual are smaller.
    """
    config = GPTNeoXConfig(
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        hidden_size=args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        intermediate_size=4 * args.width,
        hidden_act=args.activation,
        max_position_embeddings=args.context,
        rotary_pct=0.25,
        use_parallel_residual=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    torch.manual_seed(args.seed)
    model = GPTNeoXForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
            parameter.data.mul_(1 / math.sqrt(2 * args.layers))
    if args.start:
        load_start(model, args.start, args.fresh_mlp_outputs)
    return model


def load_start(model: GPTNeoXForCausalLM, folder: Path, fresh_mlp_outputs: bool) -> None:
    """Put the weights of a saved model of the same shape in; what its MLPs write may stay fresh."""
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"no model.safetensors in {folder}: give --start a folder that holds a model")
    saved = GPTNeoXForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    own = model.state_dict()
    if any(saved[name].shape != own[name].shape for name in own if name in saved) or saved.keys() != own.keys():
        raise InputError(f"the model in {folder} has another shape: give its --layers and --width, and its tokenizer")
    kept = {name for name in own if fresh_mlp_outputs and ".dense_4h_to_h." in name}
    model.load_state_dict({name: own[name] if name in kept else saved[name] for name in own})


def build_optimizers(model: GPTNeoXForCausalLM, mlp_optimizer: str) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices of attention, AdamW for embeddings and vectors; `update` sets the learning rates."""
    embeddings = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    matrices = {name: p for name, p in model.gpt_neox.layers.named_parameters() if p.dim() == 2}
    with_adamw = [p for name, p in matrices.items() if ".mlp." in name and mlp_optimizer == "adamw"]
    hidden = [p for name, p in matrices.items() if ".mlp." not in name or mlp_optimizer == "muon"]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [
        {"params": embeddings + with_adamw, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return {
        "muon": torch.optim.Muon(hidden, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        "adamw": torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True),
    }


def rate_factor(step: int, steps: int, warmup: int, decay_from: float) -> float:
    """Share of the learning rate at a step: it warms up, stays, and falls from `decay_from` of the run on."""
    falling = min(1.0, max(FINAL_RATE, (1 - step / steps) / (1 - decay_from)))
    return min(1.0, (step + 1) / warmup) * falling


def next_token_loss(model: GPTNeoXForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next-token predictions, in nats; batch [batch, context + 1]."""
    logits = model(batch[:, :-1], use_cache=False).logits  # [batch, context, vocab]
    return F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


# The run, its steps and its files


@dataclass
class Run:
    """Everything a training run works on; `step` counts the updates made, `losses` holds (step, nats per token).

    `tokens_per_character` is that of the validation text, which turns one loss into the other.
    """

    args: argparse.Namespace
    tokenizer: PreTrainedTokenizerFast
    train: np.ndarray
    validation: np.ndarray
    model: GPTNeoXForCausalLM
    optimizers: dict[str, torch.optim.Optimizer]
    fingerprint: dict[str, str]
    tokens_per_character: float
    step: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)


def state_file(args: argparse.Namespace) -> Path:
    """Where the state of a run is kept."""
    return args.out / "resume" / "state.safetensors"


def fingerprint(args: argparse.Namespace, *streams: np.ndarray) -> dict[str, str]:
    """What must not change when a run is continued: the options that shape the weights, and the tokens."""
    options = {f"--{name.replace('_', '-')}": str(getattr(args, name)) for name in SHAPING_OPTIONS}
    return options | {"text": hashlib.sha256(b"".join(stream.tobytes() for stream in streams)).hexdigest()}


def save_state(run: Run) -> None:
    """Write weights, optimizer states and progress to one file, which replaces the older one at once."""
    tensors = {f"model/0/{name}": tensor for name, tensor in run.model.state_dict().items()}
    for kind, optimizer in run.optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{kind}/{index}/{name}": tensor for name, tensor in state.items()}
    notes = {"step": run.step, "losses": run.losses, "fingerprint": run.fingerprint}
    file = state_file(run.args)
    file.parent.mkdir(exist_ok=True)
    partial = file.with_suffix(".partial")
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, partial, {"notes": json.dumps(notes)})
    with partial.open("rb+") as written:
        os.fsync(written.fileno())
    os.replace(partial, file)


def restore_state(run: Run) -> None:
    """Put the saved state back, unless it is that of another command."""
    states: dict[str, dict] = {"model": {"0": {}}} | {kind: {} for kind in run.optimizers}
    with safe_open(state_file(run.args), "pt") as saved:
        notes = json.loads(saved.metadata()["notes"])
        changed = [key for key, value in run.fingerprint.items() if notes["fingerprint"][key] != value]
        if changed:
            raise InputError(f"{run.args.out} holds a run with another {changed[0]}: choose another --out")
        for key in saved.keys():  # noqa: SIM118 (a safetensors file is no dictionary)
            kind, index, name = key.split("/")
            states[kind].setdefault(index, {})[name] = saved.get_tensor(key)
    run.model.load_state_dict(states["model"]["0"])
    for kind, optimizer in run.optimizers.items():
        state = {int(index): tensors for index, tensors in states[kind].items()}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    run.step, run.losses = notes["step"], notes["losses"]


def save_model(run: Run, folder: Path) -> None:
    """Write a complete Hugging Face folder; the weights arrive last, so where they are, everything is."""
    scratch = folder / ".writing"
    shutil.rmtree(scratch, ignore_errors=True)
    half = copy.deepcopy(run.model).to(device="cpu", dtype=getattr(torch, run.args.dtype))
    half.save_pretrained(scratch)
    run.tokenizer.save_pretrained(scratch)
    for file in sorted(scratch.iterdir(), key=lambda file: file.suffix == ".safetensors"):
        os.replace(file, folder / file.name)
    scratch.rmdir()


def update(run: Run) -> torch.Tensor:
    """Make one step; returns the loss before it."""
    args = run.args
    rows = batch_rows(run.step, args.batch, count_windows(run.train, args.context), args.seed)
    batch = windows(run.train, rows, args.context).to(run.model.device)
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=args.precision == "bfloat16"):
        loss = next_token_loss(run.model, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    rate = args.learning_rate * rate_factor(run.step, args.steps, args.warmup, args.decay_from)
    for optimizer in run.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    run.step += 1
    return loss.detach()


@torch.no_grad()
def validate(run: Run) -> None:
    """Measure, print and note the validation loss: float32, over evenly spaced windows."""
    args = run.args
    n_windows = count_windows(run.validation, args.context)
    rows = np.linspace(0, n_windows - 1, min(n_windows, args.validation_windows)).astype(int)
    total = 0.0
    for part in np.array_split(rows, math.ceil(len(rows) / args.batch)):
        batch = windows(run.validation, part, args.context).to(run.model.device)
        total += next_token_loss(run.model, batch).item() * len(part)
    loss = total / len(rows)
    if not math.isfinite(loss):
        raise InputError(f"loss not finite at step {run.step}: start again with a lower --learning-rate")
    rate = run.tokens_per_character
    line = f"step {run.step:>5}/{args.steps}  validation loss {loss:.3f} nats per token"
    print(f"{line}, {loss * rate:.4f} per character", flush=True)
    run.losses.append((run.step, loss))
    tokens_per_step = args.batch * args.context
    lines = [f"{step},{step * tokens_per_step},{nats:.4f},{nats * rate:.4f}\n" for step, nats in run.losses]
    header = "step,tokens,nats_per_token,nats_per_character\n"
    (args.out / "validation_loss.csv").write_text(header + "".join(lines))


def train(run: Run) -> None:
    """Train from `run.step` to the end, with validation, checkpoints and saved states on the way."""
    args, first, began = run.args, run.step, time.perf_counter()
    while True:
        if run.step % args.validate_every == 0 or run.step in (*args.checkpoints, args.steps):
            validate(run)
        if run.step in args.checkpoints:
            save_model(run, args.out / f"step{run.step}")
        if run.step == args.steps:
            break
        loss = update(run)
        if run.step % args.log_every == 0:
            pace = (run.step - first) / (time.perf_counter() - began)  # steps per second
            speed, left = pace * args.batch * args.context, (args.steps - run.step) / pace / 60
            line = f"step {run.step:>5}/{args.steps}  training loss {loss.item():.3f}"
            print(f"{line}  {speed:,.0f} tokens/s  {left:.0f} min left", flush=True)
        if run.step % args.save_every == 0 or run.step == args.steps:
            save_state(run)
    save_model(run, args.out)


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that cannot work, before anything is read."""
    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device found: use --device cpu")
    if args.width % (8 * args.heads):
        raise InputError(f"--width {args.width} must be a multiple of 8 x --heads, which is {8 * args.heads}")
    if max(args.checkpoints, default=0) > args.steps:
        raise InputError(f"--checkpoints {max(args.checkpoints)} is past the last step, {args.steps}")
    if not 0 < args.held_out < 1 or not 0 <= args.decay_from < 1:
        raise InputError("--held-out must lie between 0 and 1, and --decay-from too")
    if args.vocabulary < 257:
        raise InputError("--vocabulary must be at least 257: the 256 bytes and the end of text")
    if (args.out / "model.safetensors").exists() and not state_file(args).exists():
        raise InputError(f"{args.out} holds a finished model: choose another --out")


def prepare(args: argparse.Namespace) -> Run:
    """Read the text and set up the run, or take it up where its saved state ends."""
    resumed = state_file(args).exists()
    train_documents, validation_documents = load_documents(args)
    print(f"{len(train_documents)} training, {len(validation_documents)} validation documents", flush=True)
    folder = args.out if resumed else args.tokenizer or args.start
    tokenizer = load_tokenizer(folder) if folder else train_tokenizer(train_documents, args.vocabulary)
    tokenizer.model_max_length = args.context
    stream = encode(shuffled(list(passages(train_documents)), args.seed), tokenizer)
    held_out = list(passages(validation_documents))
    validation = encode(held_out, tokenizer)
    for kind, tokens, least in (("training", stream, args.batch), ("validation", validation, 1)):
        if count_windows(tokens, args.context) < least:
            raise InputError(
                f"too little {kind} text, {len(tokens)} tokens where {least * args.context + 1} are needed: "
                "give more text or lower --batch or --context"
            )
    device = "cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu"
    model = build_model(args, tokenizer).to(device).train()
    optimizers, same = build_optimizers(model, args.mlp_optimizer), fingerprint(args, stream, validation)
    rate = len(validation) / sum(map(len, held_out))
    run = Run(args, tokenizer, stream, validation, model, optimizers, same, rate)
    if resumed:
        restore_state(run)
        print(f"continuing after step {run.step}")
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(args.out)
    passes = args.steps * args.batch * args.context / len(stream)
    print(
        f"{model.num_parameters() / 1e6:.2f} M parameters, vocabulary {model.config.vocab_size}, "
        f"{passes:.2f} passes over {len(stream) / 1e6:.2f} M tokens, on {device}",
        flush=True,
    )
    return run


# Command line


class OneLineParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists all options)\n")


def whole(text: str) -> int:
    """A whole number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if (number := whole(text)) == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def step_list(text: str) -> list[int]:
    """Whole numbers separated by commas."""
    return [whole(step) for step in text.split(",")]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line; the defaults are those of the bundled model's second part."""
    parser = OneLineParser(
        prog="train.py",
        description="Train a small GPT-NeoX language model, tokenizer included, from plain text.",
        epilog="To continue an interrupted run, repeat its command.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("text", nargs="+", type=Path, help=".txt, .jsonl, .jsonl.xz files or folders of them")
    add("--out", type=Path, required=True, help="folder for tokenizer, model, checkpoints and resume state")
    add("--validation", nargs="+", type=Path, help="files or folders to validate on; not trained on")
    add("--held-out", type=float, default=0.05, help="share of documents to validate on without --validation")
    add("--tokenizer", type=Path, help="folder of an existing tokenizer; otherwise one is trained")
    add("--start", type=Path, help="folder of a model to start from, tokenizer included; otherwise weights are fresh")
    add("--fresh-mlp-outputs", action="store_true", help="with --start: what the MLPs write is learned anew")
    add("--vocabulary", type=positive, default=1536, help="size of a tokenizer trained here")
    add("--layers", type=positive, default=10, help="blocks")
    add("--width", type=positive, default=224, help="d_model; d_mlp is four times as much")
    add("--heads", type=positive, default=4, help="attention heads per layer")
    add("--activation", choices=("gelu", "relu"), default="relu", help="of the MLPs")
    add("--mlp-optimizer", choices=("muon", "adamw"), default="adamw", help="of the MLPs' matrices")
    add("--context", type=positive, default=256, help="tokens per window")
    add("--batch", type=positive, default=16, help="windows per step")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=positive, default=3000, help="updates to make")
    length.add_argument("--tokens", type=positive, help="tokens to train on, in place of --steps")
    add("--learning-rate", type=float, default=3e-3, help="the highest, of Muon and AdamW alike")
    add("--warmup", type=positive, default=100, help="steps until the learning rate is at its highest")
    add("--decay-from", type=float, default=0.4, help="share of the run after which the learning rate falls")
    add("--checkpoints", type=step_list, default=[], metavar="0,30,...", help="steps to save as OUT/step30")
    add("--validate-every", type=positive, default=250, help="steps between validations")
    add("--validation-windows", type=positive, default=200, help="windows to validate on, at most")
    add("--log-every", type=positive, default=10, help="steps between progress lines")
    add("--save-every", type=positive, default=100, help="steps between saved states")
    add("--seed", type=whole, default=0, help="for initial weights, held-out documents and order of text")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU where there is one")
    add("--precision", choices=("bfloat16", "float32"), default="bfloat16", help="of the training arithmetic")
    add("--dtype", choices=("float16", "bfloat16", "float32"), default="float16", help="of the saved weights")
    args = parser.parse_args(argv)
    if args.tokens:
        args.steps = math.ceil(args.tokens / (args.batch * args.context))
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command line: 0 when done, 1 with one line on stderr when refused, 130 when interrupted."""
    args = parse_arguments(argv)
    disable_progress_bar()
    try:
        check_options(args)
        train(prepare(args))
    except (InputError, OSError, SafetensorError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train.py: interrupted; the same command continues from the last saved state", file=sys.stderr)
        return 130
    print(f"done: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
