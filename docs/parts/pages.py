"""How the repository's files become pages: the table of contents, links to folders, pocket's report and explorer."""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from helpers import paths

CONTENTS = """
```{toctree}
:hidden:
:caption: The paper's five experiments

notebooks/00_start_here
FIVE
```

```{toctree}
:hidden:
:caption: Stages, and further experiments

FURTHER
```

```{toctree}
:hidden:
:caption: Read together

docs/reading_group
```

```{toctree}
:hidden:
:caption: Results and code

docs/results
Playground <notebooks/playground>
The helpers <src/helpers/README>
reference/README
training/README
models/pocket/README
data/parts_of_speech/README
data/passages/README
data/senses/README
CONTRIBUTING
CHANGELOG
```
"""
SESSIONS = """
```{toctree}
:hidden:
:glob:

reading_group/*
```
"""
WRITTEN = {"report.html": "the report", "explorer.html": "the explorer"}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:\s]+)\)")


def contents() -> str:
    """The table of contents of the whole site, with every notebook."""
    names = sorted(f"notebooks/{path.stem}" for path in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))[1:]
    return CONTENTS.replace("FIVE", "\n".join(names[:5])).replace("FURTHER", "\n".join(names[5:]))


def written() -> list[Path]:
    """Pocket's report and explorer, those that there are."""
    return [path for name in WRITTEN if (path := paths.results("pocket") / name).is_file()]


def without_folders(text: str, folder: Path) -> str:
    """Links to folders, which have no page, as their text alone."""
    return LINK.sub(lambda link: link[1] if (folder / link[2]).is_dir() else link[0], text)


def prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change what is read from a file before it is parsed."""
    if app.env.doc2path(docname).suffix == ".md":
        source[0] = without_folders(source[0], (paths.ROOT / docname).parent)
    if docname == app.config.root_doc:
        source[0] += contents()
    if docname == "docs/reading_group":
        source[0] += SESSIONS
    if docname == "docs/results" and written():
        source[0] += "\nOf this copy: " + ", ".join(
            f'<a href="../results/pocket/{path.name}">{WRITTEN[path.name]} on pocket</a>' for path in written()
        )


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Copy what is linked and is no page, and give the site its index.html."""
    if exception is None:
        folder = Path(app.outdir)
        shutil.copyfile(folder / f"{app.config.root_doc}.html", folder / "index.html")
        for path in written():
            (folder / "results" / "pocket").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / "results" / "pocket" / path.name)


def level_captions(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """The captions of the sidebar are headings, and a heading must say of which level."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def always_reread(app: Sphinx, env: object, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Pages that depend on which other files there are."""
    return [app.config.root_doc, "docs/results"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("source-read", prepare)
    app.connect("env-get-outdated", always_reread)
    app.connect("html-page-context", level_captions, priority=900)  # after the theme
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
