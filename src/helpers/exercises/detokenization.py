"""Exercises of notebook 07: attention from both ends of a word, and what each head's part in reading it is worth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.exercises.answers import is_open
from helpers.exercises.replies import OPEN, Reply, judge, not_yet

ALL = "all"


def check_both_ends(
    means: Any,
    pattern: Float[Tensor, "head query key"],
    places: Int[Tensor, "word"],
    reach: Int[Tensor, "word"],
) -> Reply:
    """Attention one step back from the last and from the first piece of words of two tokens: a row per head.

    ``places`` are those of last pieces, ``reach`` the number of pieces before each; columns last piece, first piece.
    """
    if is_open(means):
        return Reply(False, OPEN)
    pairs = list(zip(places.tolist(), reach.tolist(), strict=True))
    two = [place for place, back in pairs if back == 1 and place >= 2]
    if not two:
        return not_yet("this text has no word of two tokens: take another.")

    def table(ends: Sequence[int], *shifts: tuple[int, int]) -> np.ndarray:
        columns = [[pattern[:, end - query, end - key].double() for end in ends] for query, key in shifts]
        return torch.stack([torch.stack(column).mean(0) for column in columns], 1).cpu().numpy()

    wanted = table(two, (0, 1), (1, 2))
    every = [place for place, _ in pairs if place >= 2]
    mistakes = {
        "the columns are exchanged: first the last piece.": wanted[:, ::-1],
        "rows and columns are exchanged: one row per head.": wanted.T,
        "longer words are counted, too; keep those with `reach == 1`.": table(every, (0, 1), (1, 2)),
        "this is the sum over words; take the mean.": wanted * len(two),
        "the second column is the last piece again, two steps back; start at the first piece.": table(
            two, (0, 1), (0, 2)
        ),
        "the second column is the token behind the word; the first piece is one before the last.": table(
            [place for place in two if place + 1 < pattern.shape[1]], (0, 1), (-1, 0)
        ),
    }
    head = int((wanted[:, 0] - wanted[:, 1]).argmax())
    praise = f"Head {head} tells the two ends apart most: {wanted[head, 0]:.2f} from the last, {wanted[head, 1]:.2f} "
    return judge(means, wanted, mistakes, praise + "from the first piece.", "One row per head, two columns.")


def check_one_head(
    costs: Any,
    bridge: TransformerBridge,
    tokens: Int[Tensor, "1 pos"],
    places: Int[Tensor, "word"],
    reach: Int[Tensor, "word"],
    layer: int,
) -> Reply:
    """What it costs to cut the attention from the last piece of words to their earlier ones: ``costs`` by head.

    Loss of the token behind the word, cut minus intact, in nats, mean over words; ``all`` heads first, then each alone.
    The cut attention is set to 0 and the rest of the row scaled to 1 again.
    """
    if is_open(costs):
        return Reply(False, OPEN)
    words = list(zip(places.tolist(), reach.tolist(), strict=True))
    if not words:
        return not_yet("this text has no word of several tokens: take another.")

    def losses(scaled: bool = True) -> Float[Tensor, "word run"]:
        return torch.stack([_losses(bridge, tokens, place, back, layer, scaled) for place, back in words])

    runs = losses()
    changes = (runs[:, 1:] - runs[:, :1]).double().cpu()
    names = [ALL, *map(str, range(bridge.cfg.n_heads))]

    def named(values: Tensor) -> dict[str, float]:
        return dict(zip(names, values.tolist(), strict=True))

    wanted = named(changes.mean(0))
    mistakes = {
        "the signs are turned over: cut minus intact.": named(-changes.mean(0)),
        "this is the sum over words; take the mean.": named(changes.sum(0)),
        "these are losses; take the intact loss off.": named(runs[:, 1:].double().mean(0)),
        "these are bits; leave them in nats.": named(changes.mean(0) / np.log(2)),
        "a cut head must still give 1 in all: cut the scores, before the softmax.": lambda: named(
            (losses(scaled=False)[:, 1:] - runs[:, :1]).double().mean(0)
        ),
        "a head alone is missing or was not cut: `all` stands for each of them.": named(
            changes.mean(0)[:1].expand(len(names))
        ),
    }
    alone = {name: cost for name, cost in wanted.items() if name != ALL}
    most = max(alone, key=alone.__getitem__)
    praise = f"Head {most} alone costs {alone[most]:.3f} nats, all heads {wanted[ALL]:.3f}."
    return judge(costs, wanted, mistakes, praise, "`all` first, then one entry per head.", tolerance=1e-2)


@torch.no_grad()
def _losses(
    bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"], place: int, back: int, layer: int, scaled: bool
) -> Float[Tensor, "run"]:
    """Loss behind one word: intact, all heads cut, each head cut; one run of the text up to the word, a row each."""
    n_heads = bridge.cfg.n_heads

    def cut(pattern: Tensor, hook: Any) -> Tensor:
        pattern = pattern.clone()
        for row in range(1, n_heads + 2):
            heads = range(n_heads) if row == 1 else [row - 2]
            for head in heads:
                pattern[row, head, place, place - back : place] = 0
                if scaled:
                    pattern[row, head, place] /= pattern[row, head, place].sum()
        return pattern

    text = tokens[:, : place + 1].to(bridge.cfg.device).expand(n_heads + 2, -1)
    hooks = [(f"blocks.{layer}.attn.hook_pattern", cut)]
    logits = bridge.run_with_hooks(text, fwd_hooks=hooks, use_cache=False)[:, place].float()
    following = tokens[0, place + 1].to(logits.device).expand(n_heads + 2)
    return torch.nn.functional.cross_entropy(logits, following, reduction="none")
