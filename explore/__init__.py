"""Single images, and pictures of embedding space: which predictions are wrong, which labels may be, what is near what.

In: a manifest, its caches, a run. Out: tables that name files, pages with thumbnails, maps. These are for whoever holds
the images: unlike runs and reports they name files and show pixels.
"""

from .errors import Errors, find_errors
from .errors_page import write_errors_page
from .map import EmbeddingMap, make_map

__all__ = ["EmbeddingMap", "Errors", "find_errors", "make_map", "write_errors_page"]
