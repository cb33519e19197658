"""A disk that is full, or that cannot be written: one message, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from medprobe.base import OutputError
from medprobe.cache import CacheDraft


@pytest.fixture
def tiny_disk(tmp_path):
    """A real file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no permission to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


_FILL = """
import sys
from contextlib import chdir, suppress
from pathlib import Path
import numpy as np
from medprobe.base import OutputError
from medprobe.cache import CacheDraft, EmbeddingSpec

store, limit = Path(sys.argv[1]), int(sys.argv[3])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
spec = EmbeddingSpec.from_json(sys.argv[2])
draft = CacheDraft.open(store, "cohort", spec, segment_rows=100)
rng = np.random.default_rng(0)
try:
    for start in range(0, 10_000, 100):
        ids = [f"s{i}" for i in range(start, start + 100)]
        vectors = {"cls": rng.standard_normal((100, 384)), "mean": rng.standard_normal((100, 384))}
        draft.append(ids, [f"{i:032x}" for i in range(start, start + 100)], range(start, start + 100), vectors)
        if limit and start == 500:
            draft.publish([f"s{i}" for i in range(600)])
except OutputError as error:
    print(error)
    sys.exit(3)
"""


def _fill(store: Path, spec, limit: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _FILL, str(store), spec.to_json(), str(limit)], capture_output=True, text=True
    )
    assert done.returncode == 3, done  # not a crash inside HDF5 (139), and no traceback
    return done.stdout


def test_a_full_disk_is_one_message_and_what_was_written_before_is_kept(tiny_disk, make_spec, cohort_of) -> None:
    spec = make_spec()
    assert "the disk is full; free some space" in _fill(tiny_disk, spec)
    draft = CacheDraft.open(tiny_disk, "cohort", spec)
    known = len(draft.known())
    assert known >= 500
    assert known == 100 * len(list(draft.parts.iterdir())), "something half-written is there"
    # Publishing needs room for the whole file beside the segments: refused too, and nothing is lost by it.
    with pytest.raises(OutputError, match="the disk is full"):
        draft.publish(draft.known())
    assert not draft.path.exists()
    assert [path for path in draft.path.parent.iterdir() if path != draft.parts] == []
    assert len(CacheDraft.open(tiny_disk, "cohort", spec).known()) == known


def test_a_limit_on_file_sizes_is_one_message(tmp_path, make_spec) -> None:
    text = _fill(tmp_path, make_spec(), limit=600_000)
    assert "larger than this system lets a file be" in text
    assert [path.suffix for path in (tmp_path / "cohort").iterdir()] == [".parts"]


def test_a_store_that_cannot_be_made_is_one_message_before_anything_is_computed(tmp_path, spec) -> None:
    (tmp_path / "store").write_text("a file")
    for store in (tmp_path / "store", tmp_path / "store" / "below"):
        with pytest.raises(OutputError, match="a file is where a folder is needed"):
            CacheDraft.open(store, "cohort", spec)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_message(tmp_path, spec) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission to write there"):
        CacheDraft.open(tmp_path / "store", "cohort", spec)
