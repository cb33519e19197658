from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ImageError
from medprobe.manifests import READERS, read_image

# For this import alone: the names of benchmarks are common words, which other libraries may have too.
with pytest.MonkeyPatch.context() as path:
    path.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from damaged_files import damaged, seeds

_COUNT = 150


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", [reader.name for reader in READERS])
def test_damaged_files_end_in_an_image_or_an_image_error(tmp_path: Path, reader: str) -> None:
    sound = seeds(reader)
    assert sound
    for number, seed in enumerate(sound):
        assert read_image(seed.written(tmp_path / f"sound{number}")).dtype == np.uint8
    rng, refused = np.random.default_rng(7), 0
    for number in range(_COUNT):
        changed, suffix = damaged(sound[number % len(sound)], rng)
        source = changed.written(tmp_path / f"{number}{suffix}")
        try:
            pixels, reason = read_image(source), ""
        except ImageError as error:
            pixels, reason = np.zeros((1, 1), np.uint8), str(error)
        assert str(tmp_path) not in reason
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 2 or pixels.shape[2:] == (3,)
        refused += bool(reason)
    assert refused > _COUNT // 10
