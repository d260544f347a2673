"""A page for every helper: its source, so that a link to a module opens it in the site."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.parsers import Parser


class ModuleParser(Parser):
    """A Python file as a document: its path as the title, then its source."""

    supported = ("python-module",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """One section with one highlighted block. In no table of contents: the map of the helpers is theirs."""
        title = document["source"].split("/src/", 1)[-1]
        section = nodes.section(ids=["source"], names=["source"])
        section += nodes.title(title, title)
        section += nodes.literal_block(inputstring, inputstring, language="python", linenos=False)
        document += nodes.docinfo("", nodes.field("", nodes.field_name("", "orphan"), nodes.field_body("")))
        document += section


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_source_suffix(".py", "python-module")
    app.add_source_parser(ModuleParser)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
