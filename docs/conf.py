"""Sphinx configuration (`make docs`): warnings are errors, and nothing is fetched from a network."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "Versa"
author = "the Versa authors"
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_parser",
    "commands",
]
myst_heading_anchors = 3
default_role = "code"  # docstrings mark code with single backticks
highlight_language = "none"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"Versa {release}"
html_static_path = ["_static"]
html_css_files = ["versa.css"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
