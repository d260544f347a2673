"""The playground's pictures: a ``Sentence`` in, HTML out, so fast that they follow a slider.

Wherever something is shown by colour alone, the number stands in it or comes up when it is pointed at. Colours lie
half transparent on the notebook's own background, so that text stays legible in light and in dark themes.
"""

from collections.abc import Iterable, Mapping
from html import escape

import pandas as pd

from helpers.beyond.orders import INTACT
from helpers.pages.sentence import LESIONS, Sentence

STRONGEST = 0.6  # opacity at 100 %
FULL = 3.0  # nats at which the colour of a loss is strongest
BLUE, ORANGE = "30, 110, 190", "214, 100, 0"
STYLE = """<style>
.play { line-height: 1.4; }
.play table { border-collapse: collapse; font-size: 12px; line-height: 1.3; }
.play th { font-weight: normal; padding: 1px 5px; text-align: right; white-space: nowrap; }
.play thead th { text-align: left; }
.play .chosen, .play th.chosen { font-weight: bold; }
.play td { padding: 1px 4px; max-width: 70px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.play tr.chosen td { border-top: 1px solid; border-bottom: 1px solid; }
.play td.right { box-shadow: inset 0 0 0 2px rgb(214, 100, 0); }
.play .heads th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
.play .square td { width: 20px; min-width: 20px; height: 18px; padding: 0; text-align: center; font-size: 10px; }
.play .words span { display: inline-block; text-align: center; padding: 0 4px; margin: 1px; }
.play .words small { display: block; }
.play .three { display: flex; flex-wrap: wrap; gap: 0 20px; }
.play .bar { display: flex; justify-content: space-between; width: 190px; padding: 0 4px; margin: 2px 0; }
.play h4 { margin: 4px 0; }
</style>"""


def lens(sentence: Sentence, layer: int, position: int) -> str:
    """The best guess of every row of the lens, the embedding at the bottom; what enters and leaves ``layer`` marked."""
    best = sentence.lens[sentence.lens["rank"] == 1]
    words, sure = (best.pivot(index="row", columns="position", values=of) for of in ("token", "probability"))
    follows = [*sentence.tokens[1:], None]
    ends = {sentence.n_layers: "output ", 0: "embedding "}
    lines = []
    for row in reversed(range(len(words))):
        cells = "".join(
            f'<td title="{share:.1%}"{_class(right=word == after)} style="{_tint(BLUE, share)}">{escape(word)}</td>'
            for word, share, after in zip(words.loc[row], sure.loc[row].tolist(), follows, strict=True)
        )
        lines.append(f"<tr{_class(chosen=row in (layer, layer + 1))}><th>{ends.get(row, '')}{row}</th>{cells}</tr>")
    head = _heads(sentence.tokens, position)
    return _panel(
        "Logit lens", f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def attention(sentence: Sentence, layer: int, head: int | None, position: int) -> str:
    """Where one head of ``layer`` looks, or the mean of all: the row is the token that looks; percent from 10 on."""
    pattern = sentence.patterns[layer].mean(0) if head is None else sentence.patterns[layer, head]
    lines = []
    for query, shares in enumerate(pattern.tolist()):
        cells = "".join(
            f'<td title="{share:.1%}" style="{_tint(BLUE, share)}">{f"{share:.0%}"[:-1] if share >= 0.095 else ""}</td>'
            for share in shares[: query + 1]
        )
        lines.append(f"<tr><th{_class(chosen=query == position)}>{escape(sentence.tokens[query])}</th>{cells}</tr>")
    whose = "mean of all heads" if head is None else f"head {head}"
    table = f'<thead class="heads"><tr><th></th>{_heads(sentence.tokens, position)}</tr></thead>'
    return _panel(
        f"Attention in layer {layer}: {whose}", f'<table class="square">{table}<tbody>{"".join(lines)}</tbody></table>'
    )


def next_token(sentence: Sentence, layer: int, position: int) -> str:
    """The best guesses of what follows ``position``: intact, without ``layer``, and with it and the next swapped."""
    here = sentence.lesioned[sentence.lesioned["position"] == position]
    found = {INTACT: here[here["intervention"] == INTACT]}
    found |= {done(name, layer): here[(here["intervention"] == name) & (here["layer"] == layer)] for name in LESIONS}
    lists = "".join(f"<div><h4>{what}</h4>{_bars(table)}</div>" for what, table in found.items() if len(table))
    return _panel(
        f"What follows “{escape(sentence.tokens[position])}” ({position})?", f'<div class="three">{lists}</div>'
    )


def losses(sentence: Sentence, layer: int, position: int) -> str:
    """The sentence under each lesion of ``layer``, every token coloured by the change of its loss, in nats."""
    here = sentence.losses[sentence.losses["layer"] == layer]
    changes = {name: here.loc[here["intervention"] == name, "loss_change_nats"].tolist() for name in LESIONS}
    words = {
        name: "".join(_words(sentence.tokens[1:], change, position - 1)) for name, change in changes.items() if change
    }
    lines = "".join(f'<h4>{done(name, layer)}</h4><div class="words">{each}</div>' for name, each in words.items())
    return _panel("What each token loses (nats; orange, +: harder to predict; blue, −: easier)", lines)


def continuations(written: Mapping[str, str]) -> str:
    """How the text goes on, by what was done to the model."""
    return _panel("", "".join(f"<div><b>{escape(what)}:</b> … {escape(text)}</div>" for what, text in written.items()))


def done(intervention: str, layer: int) -> str:
    """What was done to the model, in words."""
    swapped = f"layers {layer} and {layer + 1} swapped"
    return {INTACT: INTACT, "drop": f"layer {layer} dropped", "swap": swapped}[intervention]


def _panel(heading: str, content: str) -> str:
    return f'<div class="play">{f"<h4>{heading}</h4>" if heading else ""}{content}</div>'


def _words(tokens: Iterable[str], changes: Iterable[float], chosen: int) -> Iterable[str]:
    for place, (token, change) in enumerate(zip(tokens, changes, strict=True)):
        colour = _tint(ORANGE if change > 0 else BLUE, min(abs(change) / FULL, 1.0))
        yield (
            f'<span{_class(chosen=place == chosen)} style="{colour}">{escape(token)}<small>{change:+.2f}</small></span>'
        )


def _bars(table: pd.DataFrame) -> str:
    bar = "background: linear-gradient(90deg, rgba({0}, 0.3) {1:.1%}, transparent {1:.1%})"
    return "".join(
        f'<div class="bar" style="{bar.format(BLUE, share)}"><span>{escape(token)}</span><span>{share:.1%}</span></div>'
        for token, share in zip(table["token"], table["probability"].tolist(), strict=True)
    )


def _heads(tokens: Iterable[str], chosen: int) -> str:
    return "".join(f"<th{_class(chosen=place == chosen)}>{escape(token)}</th>" for place, token in enumerate(tokens))


def _tint(colour: str, share: float) -> str:
    return f"background: rgba({colour}, {STRONGEST * share:.3f})"


def _class(**given: bool) -> str:
    names = [name for name, is_so in given.items() if is_so]
    return f' class="{" ".join(names)}"' if names else ""
