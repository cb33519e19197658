"""Workers: a decoder that crashes, hangs or takes all memory costs its image, and no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from medprobe.base import ImageError, WorkerError
from medprobe.manifests import Manifest, Source, build_folder, manifest_image_stats, read_image
from medprobe.manifests.readers import worker_pool
from medprobe.manifests.readers.worker_pool import look_at
from medprobe.report.manifest.montage import class_examples

_REASONS = {
    "crash": "its decoder crashed",
    "abort": "its decoder crashed",
    "exit": "its decoder crashed",
    "loop": "its decoder does not end",
    "wait": "its decoder does not end",
    "memory": "needs more memory",
    "killed": "its decoder was killed",
}


def _sound(path: Path) -> Path:
    path.write_bytes(b"P5 3 2 255\n" + bytes([len(path.stem)] * 5 + [int(path.stem[-2:])]))
    return path


@pytest.fixture
def files(tmp_path: Path, deadly: Callable[[Path, str], Path]) -> Callable[..., list[Source]]:
    """`files("sound", "crash", ...)`: a file of each kind."""

    def made(*kinds: str) -> list[Source]:
        paths = [tmp_path / f"{kind}-{number:02d}.pgm" for number, kind in enumerate(kinds)]
        return [Source(_sound(path) if "sound" in path.stem else deadly(path, path.stem[:-3])) for path in paths]

    return made


def _look(source: Source, *places: np.ndarray) -> str:
    pixels = read_image(source)
    for place in places:
        place[...] = pixels
    return source.path.name


def _chunks(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "kinds",
    [
        *(("sound", how, "sound") for how in _REASONS),
        ("crash", "sound", "sound", "crash", "sound"),  # the first and the last of a chunk
        ("crash", "exit", "abort"),  # all of a chunk
        ("sound", "sound", "sound", "loop", "memory", "crash", "sound", "killed"),
    ],
    ids=" ".join,
)
def test_an_image_that_ends_its_worker_is_skipped_and_no_other(files, kinds: tuple[str, ...], workers: int) -> None:
    before = _children()
    found = list(look_at(_look, files(*kinds), _chunks(len(kinds), 3), workers=workers, shapes=[(2, 3)]))
    results = [result for chunk in found for result in chunk.results]
    arrays = [array for chunk in found for array in chunk.arrays[0]]
    for number, (kind, result, array) in enumerate(zip(kinds, results, arrays, strict=True)):
        if kind == "sound":
            assert result == f"sound-{number:02d}.pgm"
            assert array[1, 2] == number
        else:
            assert isinstance(result, ImageError)
            assert _REASONS[kind] in str(result)
            assert "/" not in str(result)
    assert _children() == before


def test_memory_is_used_again_unless_somebody_has_it(files) -> None:
    chunks = look_at(_look, files(*["sound"] * 20), _chunks(20, 2), workers=1, shapes=[(2, 3)])
    kept = next(chunks).arrays[0][1]
    places = {chunk.arrays[0].ctypes.data for chunk in chunks}
    assert len(places) <= 4
    assert kept[1, 2] == 1


def test_an_image_that_ends_only_a_worker_that_read_others_is_read(tmp_path: Path) -> None:
    seen: list[str] = []

    def look(source: Source) -> int:
        seen.append(source.path.name)
        if len(seen) == 4:
            os.kill(os.getpid(), signal.SIGSEGV)
        return os.getpid()

    sources = [Source(tmp_path / str(number)) for number in range(10)]
    [chunk] = look_at(look, sources, [range(10)], workers=1)
    assert [chunk.results.count(pid) for pid in dict.fromkeys(chunk.results)] == [3, 3, 3, 1]


def test_a_worker_that_is_killed_while_idle_is_replaced(files) -> None:
    before = set(_children())
    chunks = look_at(_look, files(*["sound"] * 8), [[0], [1], [2], [3], [4], [5], [6], [7]], workers=1)
    results = list(next(chunks).results)
    time.sleep(0.1)
    [worker] = set(_children()) - before
    os.kill(int(worker), signal.SIGKILL)
    results += [result for chunk in chunks for result in chunk.results]
    assert results == [f"sound-{number:02d}.pgm" for number in range(8)]


def test_chunks_come_in_order_and_are_not_begun_long_before_they_are_taken(files, tmp_path: Path) -> None:
    def look(source: Source) -> str:
        (tmp_path / f"{source.path.stem}.begun").touch()
        return source.path.stem

    chunks = look_at(look, files(*["sound"] * 20), _chunks(20, 2), workers=2)
    seen = [next(chunks).results]
    time.sleep(0.3)
    assert len(list(tmp_path.glob("*.begun"))) <= 2 * (2 * 2 + 1)
    seen += [chunk.results for chunk in chunks]
    assert [name for results in seen for name in results] == [f"sound-{number:02d}" for number in range(20)]


def test_no_worker_outlives_a_caller_that_stops_or_fails(files) -> None:
    before, sources = _children(), files(*["sound"] * 20)
    chunks = look_at(_look, sources, _chunks(20, 2), workers=2)
    next(chunks)
    assert len(_children()) == len(before) + 2
    chunks.close()
    assert _children() == before

    def stopping():
        yield range(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(look_at(_look, sources, stopping(), workers=2))
    assert _children() == before


_KILLED = """
import os, sys, time
from pathlib import Path
from medprobe.manifests import Source
from medprobe.manifests.readers.worker_pool import look_at
one = look_at(lambda source: os.getpid(), [Source(Path("x"))] * 9, [[0], [1], [2], [3]], workers=1)
pids = next(one).results
two = look_at(lambda source: time.sleep(0.2) or os.getpid(), [Source(Path("x"))] * 9, [[0], [1], [2], [3]], workers=1)
pids += next(two).results
os.kill(pids[0], 9)
pids += next(one).results  # of a worker that was forked after that of the other call
print(*set(pids), flush=True)
os.kill(os.getpid(), 9)
"""


def test_no_worker_outlives_a_parent_that_is_killed() -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED], capture_output=True, text=True, check=False)
    pids = [int(word) for word in ended.stdout.split()]
    assert len(pids) >= 2, ended.stderr
    for _ in range(100):
        if not any(map(_runs, pids)):
            return
        time.sleep(0.1)
    pytest.fail("a worker outlived its parent")


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_fork_of_the_caller_leaves_its_workers_alone(files) -> None:
    chunks = look_at(_look, files(*["sound"] * 8), _chunks(8, 1), workers=1)
    next(chunks)
    pid = os.fork()
    if not pid:
        chunks.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert [chunk.results[0] for chunk in chunks] == [f"sound-{number:02d}.pgm" for number in range(1, 8)]


def test_a_fault_of_the_program_is_no_image_s(tmp_path: Path) -> None:
    def look(source: Source) -> float:
        return 1 / len(source.path.name[1:])

    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(look_at(look, [Source(tmp_path / "x")], [[0]], workers=1))


@pytest.mark.parametrize("failure", ["fork", "limit"])
def test_a_worker_that_cannot_start_is_one_message(tmp_path: Path, monkeypatch, failure: str) -> None:
    def refused(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(*((os, "fork") if failure == "fork" else (worker_pool, "_limit")), refused)
    with pytest.raises(WorkerError, match="could not be started"):
        list(look_at(_look, [Source(tmp_path / "x")], [[0]], workers=1))


@pytest.fixture
def with_culprits(tmp_path: Path, draw, deadly) -> Manifest:
    """Two classes of six images each, of which two end their decoder."""
    for number in range(12):
        draw(tmp_path / "set" / ("a", "b")[number % 2] / f"{number:02d}.png", number)
    deadly(tmp_path / "set/a/04.png", "crash")
    deadly(tmp_path / "set/b/11.png", "killed")
    return build_folder(tmp_path / "set").save(tmp_path / "set.parquet")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_statistics_of_images_go_on_after_a_crash(with_culprits: Manifest, workers: int) -> None:
    stats = manifest_image_stats(with_culprits, workers=workers, show_progress=False)
    reasons = dict(zip(with_culprits.sample_ids, stats.reason, strict=True))
    assert {name: reason for name, reason in reasons.items() if reason} == {
        "a/04.png": "the file is damaged: its decoder crashed",
        "b/11.png": "its decoder was killed, most likely because memory ran out",
    }
    assert stats.readable.sum() == 10


def test_check_and_show_go_on_after_a_crash(with_culprits: Manifest, tmp_path: Path, medprobe) -> None:
    checked = medprobe("manifest", "check", with_culprits.path)
    assert checked.status == 1
    assert "unreadable-image, 2 images" in checked.out
    assert medprobe("manifest", "show", with_culprits.path, "--out", tmp_path / "set.html").status == 0
    assert [shown.tiles.count(None) for shown in class_examples(with_culprits)] == [1, 1]


def test_a_store_is_read_by_workers_of_a_process_that_has_read_one(tmp_path: Path) -> None:
    """zarr keeps a thread, which a fork does not have."""
    images = np.arange(2 * 8 * 9, dtype=np.uint8).reshape(2, 8, 9)
    zarr.open_group(tmp_path / "s.zarr", mode="w").create_array("images", data=images, chunks=(1, 8, 9))
    sources = [Source(tmp_path / "s.zarr", frame, "images") for frame in range(2)]
    read_image(sources[0])
    [chunk] = look_at(read_image, sources, [[0, 1]], workers=1)
    np.testing.assert_array_equal(chunk.results, images)


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
