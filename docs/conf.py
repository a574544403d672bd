"""The documentation site, built by ``make site``. A dead link, or any other warning, ends the build."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

from line_plugin.version import __version__  # noqa: E402

project = "openood-line"
author = "the authors of openood-line"
copyright = "Apache-2.0"  # noqa: A001
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "references"]
exclude_patterns = ["_build", "_extensions", "**/_*"]

myst_heading_anchors = 4
suppress_warnings = ["ref.python"]  # both packages may have an error of one name: either link is right

autodoc_typehints = "description"
autodoc_inherit_docstrings = False  # those of other libraries name pages of their own sites
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
napoleon_use_ivar = True

smartquotes = False  # two dashes are an option, not a dash

html_theme = "furo"
html_title = f"openood-line {__version__}"
html_copy_source = False
html_show_sourcelink = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
