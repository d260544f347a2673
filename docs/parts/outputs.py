"""Pictures in stored outputs get a text in their place: the caption of the figure that their cell saves."""

import re
from pathlib import PurePath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from helpers.pages import captions


class NamePictures(SphinxTransform):
    """``alt`` for pictures that have none."""

    default_priority = 900

    def apply(self, **kwargs: object) -> None:
        """Say what the figure consists of or, for one that no cell saves, in which section it is."""
        slug = PurePath(self.env.docname).name.partition("_")[2]
        for image in self.document.findall(nodes.image):
            stem = saved_as(saving_call(image), slug)
            described = captions.of(stem).alternative if stem else f"Figure in the section “{section_title(image)}”."
            image.setdefault("alt", described)


def saved_as(call: str, slug: str) -> str:
    """The name under which a call of ``figures.save`` saves its figure, of those with a caption; else empty."""
    if not call:
        return ""
    what = re.search(r'what="(\w+)"|\b(\w+)\.WHAT', call)  # a module of that name holds the constant
    if what is None:
        return slug if slug in captions.read() else ""
    parts = [stem.removeprefix(f"{slug}_") for stem in captions.read() if stem.startswith(f"{slug}_")]
    part = max((part for part in parts if (what[1] or what[2]).startswith(part)), key=len, default="")
    return part and f"{slug}_{part}"


def saving_call(image: nodes.image) -> str:
    """From the code of the picture's cell, the call that saves it: the first call the first picture, and so on."""
    cell: nodes.Node | None = image.parent
    while cell is not None and not (isinstance(cell, nodes.Element) and "cell" in cell.get("classes", [])):
        cell = cell.parent
    if cell is None:
        return ""
    code = next((block.astext() for block in cell.findall(nodes.literal_block)), "")
    calls = code.split("figures.save(")[1:]
    number = list(cell.findall(nodes.image)).index(image)
    return calls[number] if number < len(calls) else ""


def section_title(node: nodes.Node) -> str:
    """The title of the innermost section around a node."""
    while node.parent is not None and not isinstance(node, nodes.section):
        node = node.parent
    title = next(iter(node.findall(nodes.title)), None)
    return title.astext() if title else "without a title"


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_post_transform(NamePictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
