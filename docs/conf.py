"""Sphinx configuration: MyST Markdown pages, numpydoc docstrings, the furo theme."""

from qperf_app import __version__

project = "qperf-app"
author = "The qperf-app authors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_type_aliases = {"NDArray": "NDArray"}
# Docstrings describe dataclass fields in the class; numpydoc's own member tables would repeat them.
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = f"qperf-app {version}"
