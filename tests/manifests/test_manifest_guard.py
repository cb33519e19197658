from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from medprobe.base import ImageError
from medprobe.manifests import READERS, read_image
from medprobe.manifests.readers import subprocess_reader
from medprobe.manifests.readers.source import Source

_PROGRAM = """
import os, signal, sys
import numpy as np
from medprobe.base import ImageError
from medprobe.manifests.readers import subprocess_reader

seen = []

def read(source):
    word = source.path.name
    seen.append(word)
    if word == "crash" or (word == "tired" and len(seen) > 1):
        os.kill(os.getpid(), signal.SIGSEGV)
    while word == "endless":
        pass
    if word == "much":
        np.ones(2**33, np.uint8)
    if word == "refused":
        raise ImageError("has no frame 3")
    print("a library says something")
    return np.full((2, source.frame or 3), os.getpid() % 256, np.uint8)

subprocess_reader._SECONDS = 0.5
subprocess_reader.serve(read)
"""


@pytest.fixture
def reader_process() -> Iterator[subprocess_reader.SubprocessReader]:
    """A subprocess whose reader does what the file's name says."""
    made = subprocess_reader.SubprocessReader(_PROGRAM)
    yield made
    made.close()


def _refusal(reader_process: subprocess_reader.SubprocessReader, word: str) -> str:
    with pytest.raises(ImageError) as refusal:
        reader_process.read(Source(Path(word)))
    return str(refusal.value)


def test_pixels_and_refusals_come_through(reader_process: subprocess_reader.SubprocessReader) -> None:
    assert reader_process.read(Source(Path("sound"), frame=4)).shape == (2, 4)
    assert _refusal(reader_process, "refused") == "has no frame 3"
    assert (reader_process.read(Source(Path("sound"))) == reader_process.read(Source(Path("sound")))).all()


def test_a_crash_is_the_files_and_the_next_file_is_read(reader_process: subprocess_reader.SubprocessReader) -> None:
    assert "crashed" in _refusal(reader_process, "crash")
    assert reader_process.read(Source(Path("sound"))).shape == (2, 3)
    assert "crashed" in _refusal(reader_process, "crash")


def test_a_file_that_crashes_only_a_process_that_read_others_is_read_by_a_new_one(
    reader_process: subprocess_reader.SubprocessReader,
) -> None:
    reader_process.read(Source(Path("sound")))
    assert reader_process.read(Source(Path("tired"))).shape == (2, 3)


def test_a_decoder_without_end_is_ended_and_one_without_measure_refused(
    reader_process: subprocess_reader.SubprocessReader,
) -> None:
    reader_process.read(Source(Path("sound")))  # it has started
    start = time.monotonic()
    assert "does not end" in _refusal(reader_process, "endless")
    assert time.monotonic() - start < 30
    assert "memory" in _refusal(reader_process, "much")
    assert reader_process.read(Source(Path("sound"))).shape == (2, 3)


def test_threads_get_their_own_answers(reader_process: subprocess_reader.SubprocessReader) -> None:
    with ThreadPoolExecutor(4) as pool:
        shapes = pool.map(lambda width: reader_process.read(Source(Path("sound"), frame=width)).shape, range(1, 60))
    assert list(shapes) == [(2, width) for width in range(1, 60)]


def _in_a_fork(reader_process: subprocess_reader.SubprocessReader, found: multiprocessing.Queue) -> None:
    found.put(reader_process.read(Source(Path("sound"))).tolist())


def test_a_forked_process_has_a_subprocess_of_its_own(reader_process: subprocess_reader.SubprocessReader) -> None:
    before = reader_process.read(Source(Path("sound"))).tolist()
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    worker = context.Process(target=_in_a_fork, args=(reader_process, found))
    held = threading.Thread(target=lambda: reader_process._lock.acquire())
    held.start()
    held.join()
    worker.start()
    theirs = found.get(timeout=30)
    worker.join()
    reader_process._lock.release()
    assert theirs != before
    assert reader_process.read(Source(Path("sound"))).tolist() == before


def test_it_ends_with_the_process_that_it_reads_for(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from medprobe.manifests.readers.source import Source
from medprobe.manifests.readers import subprocess_reader
one = subprocess_reader.SubprocessReader({_PROGRAM!r})
one.read(Source(Path("sound")))
print(one._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid = int(ended.stdout.split()[-1])
    for _ in range(100):
        if not _runs(pid):
            return
        time.sleep(0.1)
    pytest.fail("the subprocess outlived its process")


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_process_that_does_not_start_is_reported() -> None:
    with pytest.raises(ImageError, match="did not start"):
        subprocess_reader.SubprocessReader("raise SystemExit(3)").read(Source(Path("sound")))


def test_zarr_stores_are_read_in_a_subprocess(tmp_path: Path) -> None:
    assert [reader.name for reader in READERS if reader.in_subprocess] == ["zarr"]
    images = np.arange(2 * 8 * 9, dtype=np.uint8).reshape(2, 8, 9)
    zarr.open_group(tmp_path / "s.zarr", mode="w").create_array("images", data=images, chunks=(1, 8, 9))
    np.testing.assert_array_equal(read_image(Source(tmp_path / "s.zarr", 1, "images")), images[1])
    assert subprocess_reader.SUBPROCESS_READER._process is not None
    assert subprocess_reader.SUBPROCESS_READER._process.pid != os.getpid()


def test_a_blosc_chunk_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64), dtype=np.uint8)
    for version in (2, 3):
        store = tmp_path / f"{version}.zarr"
        group = zarr.open_group(store, mode="w", zarr_format=version)
        packed = {} if version == 2 else {"compressors": zarr.codecs.BloscCodec()}
        if version == 2:
            import numcodecs

            packed = {"compressors": numcodecs.Blosc()}
        group.create_array("images", data=noise, chunks=(1, 64, 64), **packed)
        np.testing.assert_array_equal(read_image(Source(store, 0, "images")), noise[0])
        chunk = max((file for file in store.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
        chunk.write_bytes(chunk.read_bytes()[:-1])
        with pytest.raises(ImageError, match="a chunk is cut off"):
            read_image(Source(store, 0, "images"))
