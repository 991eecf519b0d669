"""Sphinx: `make docs` builds the pages from here into docs/_build/html."""

from importlib.metadata import version as installed_version

project = "rdsp"
author = "The rdsp contributors"
project_copyright = "The rdsp contributors, Apache License 2.0"
version = release = installed_version("rdsp")

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "rdsp"
