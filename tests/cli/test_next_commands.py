"""The commands that are printed as the next step work as they are printed."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import timm
from medprobe.manifests import Manifest
from PIL import Image
from safetensors.torch import save_file

_HOW = ("--image-size", "32", "--workers", "0", "--runtime", "torch", "--cache", "store")


@pytest.fixture
def follow(medprobe, monkeypatch, tmp_path: Path):
    """`follow(words, **replaced)`: runs a command, then the one that it prints as the next; returns the words of that.

    The current folder has a manifest of 24 images, `pets.parquet`.
    """
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        path = Path("pets", ("cat", "dog")[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        low = 120 * (number % 2)
        Image.fromarray(np.random.default_rng(number).integers(low, low + 99, (20, 24), dtype=np.uint8)).save(path)

    def run(*words: object, **replaced: str) -> list[str]:
        result = medprobe(*words)
        assert result.status == 0, result.err
        [line] = [one for one in (result.out + result.err).splitlines() if one.startswith("Next:")]
        for old, new in replaced.items():
            line = line.replace(old, new)
        following = shlex.split(line.removeprefix("Next:"))[1:]
        result = medprobe(*following, *(("--probe", "centroid", "--seeds", 2) if following[0] == "probe" else ()))
        assert result.status == 0, result.err
        return following

    assert run("manifest", "build", "folder", "pets", "--out", "pets.parquet")[:2] == ["manifest", "check"]
    return run


def test_another_folder_of_embeddings_and_an_incomplete_cache_in_it(follow, medprobe) -> None:
    manifest = Manifest.load("pets.parquet")
    Manifest(manifest.table.head(12), manifest.card).save("part.parquet")
    assert medprobe("extract", "part.parquet", "-b", "timm:test_efficientnet@random", *_HOW).status == 0
    for out in ("runs/pets", "runs/pets-2"):
        words = follow("extract", "pets.parquet", "-b", "timm:test_vit@random", *_HOW)
        assert words[-1] == str(Path(out))
    of_run = ("runs/pets", "--manifest", "pets.parquet", "--cache", "store", "--probe", "centroid")
    assert {"--cache", "--probe"} <= {*follow("errors", *of_run)}
    np.savez("x.npz", sample_id=manifest.sample_ids.astype(str), cls=np.random.default_rng(0).random((24, 4)))
    follow("cache", "import", "x.npz", "--manifest", "pets.parquet", "--name", "own", "--cache", "store")


def test_weights_in_a_local_file(follow, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "weights" / "vit.safetensors")
    follow("extract", "pets.parquet", "-b", "timm:test_vit@weights/vit.safetensors", *_HOW)
    fit = ("fit", "runs/pets", "--best", "--cache", "store", "--out", "model")
    words = follow(*fit, MY_IMAGES="pets", **{"/path/to": "weights"})
    assert "timm:test_vit@weights/vit.safetensors" in words
