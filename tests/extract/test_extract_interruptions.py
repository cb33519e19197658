"""An extraction that is killed, stopped or crashes goes on and ends as an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from medprobe.base import QuarantineError
from medprobe.cache import CacheDraft, EmbeddingCache, find_caches, verify_cache
from medprobe.extract import extract

_QUIET = {"show_progress": False, "batch_size": 2}
_KILLED = """
import os, signal, sys
from functools import partial
import torch
from medprobe.extract import Backbone, engine, extract, load_backbone
from medprobe.manifests import Manifest

torch.set_num_threads(1)  # a process that has used several cannot be forked
options = {"poolings": ["cls", "mean"], "image_size": 32, "precision": "fp32", "runtime": "torch", "device": "cpu"}
backbone = load_backbone("timm:test_vit@random", **options)
assert not any(name.startswith("openvino") for name in sys.modules)  # which takes seconds
engine.CacheDraft.open = partial(engine.CacheDraft.open, segment_rows=10)
embed, left = Backbone.embed, 0
def and_die(self, images):
    global left
    left -= 1
    return os.killpg(0, signal.SIGKILL) if left == 0 else embed(self, images)
Backbone.embed = and_die
for line in sys.stdin:  # every line forks one extraction: what is imported and loaded is so once for all
    path, store, workers, left = line.split()
    left = int(left)
    child = os.fork()
    if child == 0:
        os.setsid()  # decoding workers are killed too
        manifest = Manifest.load(path)
        extract(manifest, [backbone], store, batch_size=2, workers=int(workers), show_progress=False)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., int]]:
    """`run(manifest, store, workers, batch)`: the status of an extraction that is killed at that batch, if it is not 0.

    In a process of its own.
    """
    with subprocess.Popen([sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        requests, answers = server.stdin, server.stdout

        def begin(*words: object) -> int:
            requests.write(" ".join(map(str, words)).encode() + b"\n")
            requests.flush()
            return os.waitstatus_to_exitcode(int(answers.readline()))

        yield begin


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_extraction_goes_on_and_ends_as_an_undisturbed_one(gallery_of, tmp_path, tiny, run, workers) -> None:
    small, store, quiet = gallery_of(8), tmp_path / "store", tmp_path / "quiet"
    [published] = extract(small, [tiny], store, workers=0, **_QUIET)
    before = published.load("cls")
    grown, path = gallery_of(60), tmp_path / "gallery.parquet"
    [expected] = extract(grown, [tiny], quiet, workers=0, **_QUIET)
    known = [8]
    for batch in (1, 12, 12):  # of two images
        assert run(path, store, workers, batch) == -signal.SIGKILL
        now = EmbeddingCache.open(published.path)
        assert verify_cache(now.path) == []
        np.testing.assert_array_equal(now.load("cls"), before)
        with CacheDraft.open(store, grown.name, tiny.spec) as draft:
            known.append(len(draft.known()))
    assert known[1] == 8 < known[2] < known[3] < 60
    assert run(path, store, workers, 0) == 0
    assert EmbeddingCache.open(published.path).info["content"] == expected.info["content"]
    assert list(published.path.parent.iterdir()) == [published.path]


_STOPPED = """
import signal, sys
from medprobe.cli.app import main
from medprobe.extract import Backbone

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have set to be ignored
embed, left = Backbone.embed, 5
def and_wait(self, images):
    global left
    left -= 1
    if left == 0:
        print("at work", flush=True)
        signal.pause()
    return embed(self, images)
Backbone.embed = and_wait
main()
"""


def test_ctrl_c_ends_with_status_130_and_the_same_command_goes_on_to_the_same_bytes(
    gallery, tmp_path, tiny, medprobe
) -> None:
    """As in a terminal: all processes of the command receive it."""
    words = ["extract", gallery.path, "-b", "timm:test_vit@random[cls,mean]", "--image-size", 32, "--workers", 1]
    words += ["--runtime", "torch", "--precision", "fp32", "--batch-size", 2, "--device", "cpu"]
    words = [*map(str, words), "--cache", str(tmp_path / "store")]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _STOPPED, *words], start_new_session=True, **pipes) as command:
        assert command.stdout is not None
        assert any(line == "at work\n" for line in command.stdout)
        os.killpg(command.pid, signal.SIGINT)
        printed = command.communicate()[1]
    assert command.returncode == 130, printed
    assert "the same command continues" in printed
    assert "Traceback" not in printed
    with CacheDraft.open(tmp_path / "store", gallery.name, tiny.spec) as draft:
        assert len(draft.known()) == 8
    assert medprobe(*words).status == 0
    [expected] = extract(gallery, [tiny], tmp_path / "quiet", workers=0, **_QUIET)
    [found] = find_caches(tmp_path / "store", gallery.name)
    assert found.info["content"] == expected.info["content"]


def test_images_that_end_their_decoder_are_quarantined_and_all_others_published(
    gallery, tmp_path, tiny, deadly
) -> None:
    kinds = {0: "crash", 7: "loop", 8: "memory", 21: "killed"}
    for row, how in kinds.items():
        deadly(gallery.source(row).path, how)
    with pytest.raises(QuarantineError, match="4 of 22 images could not be embedded") as error:
        extract(gallery, [tiny], tmp_path / "store", workers=2, **_QUIET)
    assert "its decoder crashed" in str(error.value)
    assert str(tmp_path) not in str(error.value)
    [file] = (tmp_path / "store").rglob("*.h5")
    assert len(EmbeddingCache.open(file)) == 18
