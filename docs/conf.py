"""How the pages are built: Markdown (MyST), the reference from the docstrings, every name of ours in it checked."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "AnyQ"
author = "The AnyQ authors"
copyright = f"2026, {author}"
version = release = installed("anyq")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "AnyQ"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3  # [text](page.md#a-heading) works, and a dead one is a warning

autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "py:obj"

# A name in single backticks is ours and must lead somewhere, as must `anyq.Name` in a signature. Other people's names
# would need the network to be checked, and type variables have no page.
nitpicky = True
nitpick_ignore_regex = [(r"py:(?!obj).*", r"(?!anyq\.[A-Z]).*"), (r"py:obj", r"typing\..*")]
