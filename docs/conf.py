"""Sphinx configuration: the pages of this folder and an API reference made from docstrings (`make docs`)."""

from importlib.metadata import version as installed

project = "medprobe"
author = "The medprobe authors"
copyright = author  # noqa: A001  (Sphinx's name)
version = release = installed("medprobe")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds per cell
nb_output_stderr = "remove"  # progress, and paths of the machine in warnings of libraries
myst_enable_extensions = ["colon_fence"]

default_role = "code"  # single backticks, as in the docstrings
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "exclude-members": "set_fit_request, set_score_request, set_predict_proba_request",  # scikit-learn's own
}
napoleon_google_docstring = True
napoleon_numpy_docstring = True

html_theme = "pydata_sphinx_theme"
html_title = "medprobe"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_show_copyright = False
