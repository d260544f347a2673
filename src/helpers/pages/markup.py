"""HTML by small functions: text escaped, tables that can be sorted, figures embedded, a page that asks for nothing.

A page holds all it needs, and its content policy forbids the browser to fetch anything else. What is called ``markup``
is HTML already; every other string is text, and escaped.
"""

import base64
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
LOW, HIGH = "_low", "_high"
MOST_ROWS = 500
LONG = 40  # characters, from which on a cell is given room


def page(title: str, markup: str, style: str, script: str) -> str:
    """A whole document; ``style`` and ``script`` are put into it as they are."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style.strip()}
</style>
</head>
<body>
{markup}
<script>
{script.strip()}
</script>
</body>
</html>
"""


def identifier(text: str) -> str:
    """What a heading is linked by."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def section(heading: str, *markup: str, level: int = 2) -> str:
    """A part of the page under its heading."""
    name = identifier(heading)
    head = f'<h{level} id="{name}">{escape(heading)}</h{level}>'
    return f'<section aria-labelledby="{name}">\n' + "\n".join([head, *filter(None, markup)]) + "\n</section>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def folded(summary: str, *markup: str) -> str:
    """What is shown once its summary is clicked."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n" + "\n".join(markup) + "\n</details>"


def figure(file: Path, shown: str, alternative: str) -> str:
    """A picture inside the page; ``shown`` is its caption, ``alternative`` what it shows for who cannot see it."""
    content = base64.b64encode(file.read_bytes()).decode()
    image = f'<img src="data:{TYPES[file.suffix]};base64,{content}" alt="{escape(alternative)}">'
    return f"<figure>\n{image}\n<figcaption>{escape(shown)}</figcaption>\n</figure>"


def smaller(stem: Path) -> Path | None:
    """The smaller of the files ``stem.svg`` and ``stem.png``; none where neither is there."""
    files = [stem.with_name(f"{stem.name}{suffix}") for suffix in TYPES]
    return min((file for file in files if file.is_file()), key=lambda file: file.stat().st_size, default=None)


def table(content: pd.DataFrame, caption: str, tinted: str = "") -> str:
    """A table that the page's script makes sortable. Its first column names the rows.

    Where columns ``x_low`` and ``x_high`` stand beside ``x``, they are its interval and written behind it. A cell of
    the column ``tinted`` has its words as a class. Of more than 500 rows the first are shown, and the caption says so.
    """
    columns = [name for name in content if not _is_bound(name, content)]
    rows = content.head(MOST_ROWS)
    cut = f" (the first {MOST_ROWS} of {len(content)} rows)" if len(content) > MOST_ROWS else ""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in columns)
    written = [_column(rows, name, name == tinted, number == 0) for number, name in enumerate(columns)]
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*written, strict=True))
    name = escape(caption + cut)
    return (
        f'<div class="scroll" role="group" tabindex="0" aria-label="{name}">\n<table>\n<caption>{name}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def number(value: int | float) -> str:
    """A number as tables show it: whole ones in full, others with four digits; nothing where it is not known."""
    if math.isnan(value):
        return ""
    return f"{value + 0:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def _is_bound(name: str, content: pd.DataFrame) -> bool:
    ends = [end for end in (LOW, HIGH) if str(name).endswith(end)]
    return bool(ends) and str(name).removesuffix(ends[0]) in content


def _column(rows: pd.DataFrame, name: str, is_tinted: bool, is_first: bool) -> Sequence[str]:
    """The cells of one column."""
    values = rows[name]
    opening, closing = ('<th scope="row"', "</th>") if is_first else ("<td", "</td>")
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        words = ["" if pd.isna(value) else str(value) for value in values]
        classes = [_class(word, is_tinted) for word in words]
        return [f"{opening}{each}>{escape(word)}{closing}" for each, word in zip(classes, words, strict=True)]
    bounds = [rows.get(f"{name}{end}", values) for end in (LOW, HIGH)]
    return [
        f'{opening} class="number"{_sorted_by(value, low, high)}>{number(value)}{_interval(low, high)}{closing}'
        for value, low, high in zip(values, *bounds, strict=True)
    ]


def _class(word: str, is_tinted: bool) -> str:
    name = identifier(word) if is_tinted else "long" if len(word) > LONG else ""
    return f' class="{name}"' if name else ""


def _interval(low: int | float, high: int | float) -> str:
    return f" [{number(low)}, {number(high)}]" if low < high else ""


def _sorted_by(value: int | float, low: int | float, high: int | float) -> str:
    """What a cell with an interval is sorted by; others are by what they show."""
    return f' data-value="{value}"' if low < high else ""
