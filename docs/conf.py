"""Sphinx builds this: `nox -s docs`. Warnings are errors, so a broken link or reference does not pass."""

import sys
from pathlib import Path

from adaptkit import __version__

sys.path.insert(0, str(Path(__file__).parent))

from powers import MARK, matrix
from rungs import RULES_MARK, table

project = "adaptkit"
author = "the adaptkit authors"
copyright = "2026, the adaptkit authors"  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "adaptkit"

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
# signatures name types of the standard library and of other packages, whose pages are not fetched while building
nitpick_ignore_regex = [(r"py:.*", r".*")]


def _markdown_blocks(app, what, name, obj, options, lines):  # noqa: ARG001 - Sphinx's signature
    """Docstrings hold fenced code and tables, as people read them in the source: show both as they stand."""
    shown, fenced, block = [], False, False
    for line in lines:
        fence = line.startswith("```")
        literal = fenced or line.startswith("|")
        if (fence and not fenced) or (literal and not block and not fenced):
            shown += ["", "::", ""]
        if not fence:
            if block and not literal:
                shown.append("")
            shown.append(f"    {line}" if literal else line)
        fenced = fenced != fence
        block = literal or (fence and fenced)
    lines[:] = shown


def _powers(app, docname, source):  # noqa: ARG001 - Sphinx's signature
    """Write what is read off the code, the table of powers and that of rules, where a page has its mark."""
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, matrix())
    if RULES_MARK in source[0]:
        source[0] = source[0].replace(RULES_MARK, table())


def setup(app):
    """Sphinx's hook."""
    app.connect("source-read", _powers)
    app.connect("autodoc-process-docstring", _markdown_blocks, priority=100)
