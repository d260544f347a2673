"""The site: notebooks as stored, README, map of the helpers and reading-group kit, from the files where they are.

The source folder is the repository, so that links between files are links between pages: see build_site.sh.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "src"), str(DOCS)]  # helpers.paths, and the parts of this site

project = "Stages of inference"
author = "The authors of the stages-of-inference companion"
language = "en"
root_doc = "README"  # and index.html is a copy of it

extensions = ["myst_nb", "parts.pages", "parts.mathml", "parts.modules", "parts.outputs"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
include_patterns = [
    "*.md",
    "notebooks/*.ipynb",
    "docs/**.md",
    "src/helpers/**.md",
    "src/helpers/**.py",
    "training/*.md",
    "reference/*.md",
    "models/pocket/*.md",
    "data/*/*.md",
]
exclude_patterns = ["**/__init__.py", "**/.ipynb_checkpoints", ".*", "results", "figures", "site"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # nothing is fetched from elsewhere: no require.js, no widget manager
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]  # a widget as its text
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_labels = False
myst_dmath_double_inline = True
myst_heading_anchors = 4
myst_update_mathjax = False
html_math_renderer = "mathml"

html_theme = "furo"
html_title = "Stages of inference"
html_static_path = ["static"]
html_favicon = "static/icon.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # a summary is fetched, which a page opened from the disk may not do
html_permalinks_icon = "#"
