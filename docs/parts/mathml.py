"""Formulas as MathML, written when the site is built: no script, no fonts, and readable aloud."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

SYNONYMS = {r"\dots": r"\ldots", r"\big": ""}  # what docutils does not know, as what it does; \bigl is another command
logger = logging.getLogger(__name__)


def mathml(formula: str, as_block: bool) -> str:
    """LaTeX as MathML; ``MathError`` names what cannot be written so."""
    words = latex_words(formula)
    return latex2mathml.tex2mathml("".join(SYNONYMS.get(word, word) for word in words), as_block=as_block)


def latex_words(formula: str) -> list[str]:
    """The formula cut into commands and single characters; joined they are the formula."""
    words: list[str] = []
    for character in formula:
        in_command = words and words[-1].startswith("\\") and (words[-1] == "\\" or words[-1][-1].isalpha())
        if in_command and (character.isalpha() or words[-1] == "\\"):
            words[-1] += character
        else:
            words.append(character)
    return words


def visit(self: Any, node: nodes.math | nodes.math_block) -> None:
    """Write the formula, or its LaTeX and a warning where MathML has no word for it."""
    as_block = isinstance(node, nodes.math_block)
    try:
        written = mathml(node.astext(), as_block)
        self.body.append(f'<div class="formula">{written}</div>' if as_block else written)
    except MathError as error:
        logger.warning("no MathML for %r: %s", node.astext(), error, location=node)
        self.body.append(f"<code>{self.encode(node.astext())}</code>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_html_math_renderer("mathml", inline_renderers=(visit, None), block_renderers=(visit, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
