"""Networks in files of `torch.export`, run by torch or what it converts to."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..weights.exported_file import read_exported
from .exported_graph import ExportedGraph
from .own_file import FileAdapter


class Pt2Adapter(FileAdapter):
    """`pt2:FILE`, as `torch.export.save` writes it."""

    def read(self, file: Path) -> nn.Module:
        return ExportedGraph(read_exported(file), file.name)
