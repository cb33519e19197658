"""Size: memory that hardly follows the number of images, and a run that goes on after a kill."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "extraction_scale.py"


def _figures(rows: int, folder: Path) -> dict[str, float]:
    """The script's figures by name, of a run that was killed at a third, went on, and found nothing to do."""
    words = [sys.executable, _SCRIPT, "--rows", str(rows), "--store", folder]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return {name: float(value.replace(",", "")) for name, value in re.findall(r"(\w+) ([\d,.]*\d)", ran.stdout)}


@pytest.mark.slow
def test_ten_times_the_images_take_little_more_memory_and_a_killed_run_goes_on(tmp_path) -> None:
    few, many = _figures(6_000, tmp_path), _figures(60_000, tmp_path)
    assert many["killed_with_rows"] >= 20_000
    # Its ids, paths and labels: 0.8 kB of a further image were measured.
    assert 1e6 * (many["peak_rss_mb"] - few["peak_rss_mb"]) <= 2_000 * (60_000 - 6_000)
