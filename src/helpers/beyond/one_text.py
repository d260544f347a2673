"""What a model makes of one text, token by token: the paper's measures where they can be read beside the words.

Tables have one row for each guess or token and spell tokens so that they can be seen: a space is ``·``, a line feed
``↵``. Position 0 is BOS. Probabilities are of the next token: a guess at a position is of the token after it.
"""

from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, lesion, metrics
from helpers.beyond.orders import INTACT
from helpers.engine import streams
from helpers.engine.batches import device
from helpers.errors import InputError
from helpers.models import context_limit
from helpers.text.vocabulary import boundary_tokens, visible_texts

BOS = "BOS"


def encode(bridge: TransformerBridge, text: str) -> Int[Tensor, "1 pos"]:
    """BOS and the tokens of ``text``, where the model takes them; ``InputError`` for no token, or for too many."""
    ids = bridge.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise InputError("the text is empty: write a few words")
    _check_length(bridge, 1 + len(ids))
    return torch.tensor([[boundary_tokens(bridge)[0], *ids]], device=device(bridge))


def spellings(bridge: TransformerBridge, tokens: Int[Tensor, "*batch pos"]) -> list[str]:
    """How every token is written, so that it can be seen; a special one by its name, ``BOS`` where a text begins."""
    ids = tokens.flatten().tolist()
    spelled = visible_texts(bridge, ids)
    return [BOS, *spelled[1:]] if ids[:1] == [boundary_tokens(bridge)[0]] else spelled


def lens_guesses(bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"], k: int = 5) -> pd.DataFrame:
    """The ``k`` best guesses of every row of the logit lens, 0 (the embedding) to n_layers (the model itself).

    Columns: ``row``, ``position``, ``rank`` from 1, ``token``, ``probability``. Each row of the residual stream is
    normalised by its own norm, as in the paper.
    """
    frames: list[pd.DataFrame] = []

    def read(row: int, residual: Float[Tensor, "1 pos d_model"]) -> None:
        frames.append(_guesses(bridge, _logits(bridge, residual), k).assign(row=row))

    streams.visit_rows(bridge, tokens, read)
    return pd.concat(frames, ignore_index=True)[["row", "position", "rank", "token", "probability"]]


def patterns(bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"]) -> Float[Tensor, "layer head query key"]:
    """Every attention pattern, in float32 on the CPU: how much each query looks at each key; rows sum to 1."""
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(bridge.cfg.n_layers)]
    _, cache = bridge.run_with_cache(tokens, names_filter=names)
    return torch.cat([cache[name] for name in names]).float().cpu()


def lesioned_guesses(bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"], k: int = 5) -> pd.DataFrame:
    """The ``k`` best guesses of the intact model, and without every layer (``drop``) or with it and the next swapped.

    Columns: ``intervention``, ``layer`` (none for the intact model), ``position``, ``rank`` from 1, ``token``,
    ``probability``. All lesions come from one walk through the layers, as in ``lesion.sweep``.
    """
    frames = [_named(_guesses(bridge, logits, k), *which) for which, logits in _lesioned(bridge, tokens)]
    return pd.concat(frames, ignore_index=True)


def loss_by_token(bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"]) -> pd.DataFrame:
    """What each token of the text loses by every drop and every swap: the change of its loss, in nats.

    Columns: ``intervention``, ``layer``, ``position`` of the token that is predicted, from 1, its ``token``,
    ``loss_nats`` under the lesion, and ``loss_change_nats``, lesioned minus intact.
    """
    spelled, position = spellings(bridge, tokens)[1:], range(1, tokens.shape[1])
    losses = (
        (which, metrics.next_token_loss(logits[:-1], tokens[0, 1:])) for which, logits in _lesioned(bridge, tokens)
    )
    _, intact = next(losses)
    frames = []
    for which, loss in losses:
        frame = pd.DataFrame({"position": position, "token": spelled, "loss_nats": loss.cpu().numpy()})
        frames.append(_named(frame.assign(loss_change_nats=(loss - intact).cpu().numpy()), *which))
    return pd.concat(frames, ignore_index=True)


def continuation(
    bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"], length: int, order: Sequence[int] | None = None
) -> str:
    """``length`` more tokens, each the best guess, with the blocks run in ``order``; without one, the model as it is.

    Ends before, where the model ends the text.
    """
    n_layers, start = bridge.cfg.n_layers, tokens.shape[1]
    order = range(n_layers) if order is None else order
    if unknown := [layer for layer in order if layer not in range(n_layers)]:
        raise InputError(f"no layer {unknown[0]}: the model has layers 0 to {n_layers - 1}")
    _check_length(bridge, start + length)
    _, eos = boundary_tokens(bridge)
    longer = torch.nn.functional.pad(tokens, (0, length), value=eos)  # what is still open is not looked at
    inputs = blocks.record_inputs(bridge, longer)
    for end in range(start, start + length):
        longer[0, end] = _logits(bridge, blocks.run_blocks(bridge, longer, order, inputs)[:, end - 1 : end]).argmax()
        if longer[0, end] == eos:
            longer = longer[:, :end]
            break
    before, after = (bridge.tokenizer.decode(part[0], clean_up_tokenization_spaces=False) for part in (tokens, longer))
    return after.removeprefix(before)


def _lesioned(
    bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"]
) -> Iterator[tuple[tuple[str, int | None], Float[Tensor, "pos vocab"]]]:
    """Intervention, layer and logits: first the intact model, then every drop and swap, from one walk."""
    walked = lesion.lesioned_streams(bridge, tokens, blocks.record_inputs(bridge, tokens))
    yield (INTACT, None), _logits(bridge, walked[0])
    for number, stream in enumerate(walked[1:]):
        layer, is_swap = divmod(number, 2)
        yield ("swap" if is_swap else "drop", layer), _logits(bridge, stream)


def _logits(bridge: TransformerBridge, residual: Float[Tensor, "1 pos d_model"]) -> Float[Tensor, "pos vocab"]:
    """What is predicted from a residual stream, in float32 whatever the model's dtype."""
    return bridge.ln_final(residual)[0].float() @ bridge.W_U.float() + bridge.b_U.float()


def _guesses(bridge: TransformerBridge, logits: Float[Tensor, "pos vocab"], k: int) -> pd.DataFrame:
    best = logits.softmax(-1).topk(min(k, logits.shape[1]))
    n_positions, n_guesses = best.indices.shape
    places = pd.MultiIndex.from_product([range(n_positions), range(1, n_guesses + 1)], names=["position", "rank"])
    guesses = {"token": visible_texts(bridge, best.indices.flatten().tolist())}
    return pd.DataFrame(guesses | {"probability": best.values.flatten().cpu().numpy()}, places).reset_index()


def _named(frame: pd.DataFrame, intervention: str, layer: int | None) -> pd.DataFrame:
    """With the intervention in the first two columns."""
    frame.insert(0, "intervention", intervention)
    frame.insert(1, "layer", pd.array([layer] * len(frame), dtype="Int64"))
    return frame


def _check_length(bridge: TransformerBridge, n_tokens: int) -> None:
    limit = context_limit(bridge)
    if n_tokens > limit:
        raise InputError(f"{n_tokens} tokens with BOS, and the model takes {limit}: use a shorter text or continuation")
