"""The site: `make docs` writes it to docs/_build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference

import dataset_distillation

project = "dataset-distillation"
html_show_copyright = False
author = "the authors of dataset-distillation"
release = version = dataset_distillation.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx-mathjax-offline"]
exclude_patterns = ["_build", "results/opening.md", "results/summary.md"]  # they stand in results/index.md
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
default_role = "literal"  # docstrings have `code` in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
html_theme = "furo"
html_title = "dataset-distillation"
html_static_path = ["_static"]
html_css_files = ["tables.css"]


def setup(app):
    """Make the generated pages before Sphinx looks for pages."""
    app.connect("builder-inited", reference.write_pages)
    app.connect("autodoc-process-docstring", reference.lists)
