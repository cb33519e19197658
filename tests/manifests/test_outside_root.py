"""No command reads what a manifest has no business with: files outside its root, pipes, devices and sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.base import ImageError, ManifestError
from medprobe.extract import dataset_normalization
from medprobe.manifests import DatasetCard, Manifest, build_folder, check_manifest, manifest_image_stats, read_image
from medprobe.manifests.builders.files import files_below
from medprobe.report.manifest.montage import class_examples


def _manifest(folder: Path, *paths: str) -> Path:
    """A manifest in `folder` whose root is `folder/in`."""
    table = pd.DataFrame({"sample_id": [f"s{n}" for n in range(len(paths))], "path": paths, "label": "a"})
    table.loc[0, "label"] = "b"
    table.to_csv(folder / "m.csv", index=False)
    DatasetCard(name="m", task="binary", classes=["a", "b"], root="in").save(folder / "m.yaml")
    return folder / "m.csv"


@pytest.mark.parametrize("path", ["../out.png", "/etc/passwd", "a/../../out.png", "..\\out.png", "/dev/zero"])
def test_every_command_that_takes_a_manifest_refuses_paths_out_of_its_root(path: str, medprobe, tmp_path, draw) -> None:
    draw(tmp_path / "out.png", 1)
    draw(tmp_path / "in" / "a.png", 2)
    manifest = _manifest(tmp_path, "a.png", path)
    commands = (
        ("manifest", "show", manifest),
        ("manifest", "check", manifest),
        ("manifest", "check", manifest, "--fix", "drop-duplicates", "--out", tmp_path / "n.csv"),
        ("extract", manifest, "--backbone", "timm:test_vit@random"),
        ("probe", manifest, "--out", tmp_path / "run"),
    )
    for words in commands:
        ended = medprobe(*words)
        assert ended.status == 1, words
        assert "leaves the card's root" in " ".join(ended.out.split()) + ended.notes, words
        assert "Traceback" not in ended.err
    assert not (tmp_path / "n.csv").exists()


def _link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


_LINKS: dict[str, Callable[[Path], None]] = {
    "a file": lambda home: _link(home / "in" / "b" / "x.png", home / "out" / "x.png"),
    "a folder": lambda home: _link(home / "in" / "b", home / "out"),
    "a relative link": lambda home: _link(home / "in" / "b", Path("../out")),
    "a link to a link": lambda home: (_link(home / "in" / "c", home / "out"), _link(home / "in" / "b", Path("c"))),
    "a folder beside it with the same beginning": lambda home: (
        (home / "out").rename(home / "inn"),
        _link(home / "in" / "b", home / "inn"),
    ),
}


@pytest.mark.parametrize("link", _LINKS.values(), ids=_LINKS.keys())
def test_what_a_link_out_of_the_root_leads_to_is_not_read(link, tmp_path: Path, draw, medprobe) -> None:
    draw(tmp_path / "out" / "x.png", 1)
    draw(tmp_path / "in" / "a.png", 2)
    link(tmp_path)
    manifest = Manifest.load(_manifest(tmp_path, "a.png", "b/x.png"))
    _, reasons = manifest.stamps()
    assert reasons[0] == ""
    assert "outside the card's root" in reasons[1]
    assert str(tmp_path) not in reasons[1]
    stats = manifest_image_stats(manifest, workers=0, show_progress=False)
    assert stats.readable.tolist() == [True, False]
    ended = medprobe("manifest", "check", manifest.path)
    assert ended.status == 1
    assert "outside the card's root" in " ".join(ended.out.split())
    assert [tile for shown in class_examples(manifest) for tile in shown.tiles].count(None) == 1
    found = dataset_normalization(manifest, tmp_path, workers=0, keep=False, show_progress=False)
    assert found == dataset_normalization(
        Manifest(manifest.table.iloc[:1], manifest.card, manifest.path),
        tmp_path, workers=0, keep=False, show_progress=False,
    )  # fmt: skip


def test_links_within_the_root_and_a_root_behind_a_link_are_read(tmp_path: Path, draw) -> None:
    draw(tmp_path / "disk" / "data" / "store" / "x.png", 1)
    draw(tmp_path / "disk" / "data" / "a.png", 2)
    _link(tmp_path / "in", tmp_path / "disk" / "data")
    _link(tmp_path / "disk" / "data" / "b", Path("store"))
    _link(tmp_path / "disk" / "data" / "c.png", tmp_path / "in" / "store" / "x.png")
    manifest = Manifest.load(_manifest(tmp_path, "a.png", "b/x.png", "c.png", "b/../a.png"))
    assert manifest.stamps()[1].tolist() == [""] * 4


def test_class_folders_that_are_links_get_a_root_above_what_they_lead_to(tmp_path: Path, draw) -> None:
    for number in range(3):
        draw(tmp_path / "disk" / "cats" / f"{number}.png", number)
        draw(tmp_path / "set" / "dog" / f"{number}.png", 10 + number)
    _link(tmp_path / "set" / "cat", tmp_path / "disk" / "cats")
    notices: list[str] = []
    built = build_folder(tmp_path / "set", notice=notices.append)
    assert built.root == tmp_path
    assert "root of all paths is .. from there" in notices[-1]
    assert built.table["path"].iloc[0] == "set/cat/0.png"
    assert built.table["sample_id"].iloc[0] == "cat/0.png"
    manifest = built.save(tmp_path / "set.parquet")
    assert manifest_image_stats(manifest, workers=0, show_progress=False).readable.all()


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


_SPECIAL: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to a pipe": lambda path: (os.mkfifo(path.with_name("zpipe")), path.symlink_to(path.with_name("zpipe"))),
}


@pytest.mark.parametrize("make", _SPECIAL.values(), ids=_SPECIAL.keys())
@pytest.mark.parametrize("name", ["f.png", "f.npz#x", "f.h5#x", "f.nii.gz#axial", "f.dcm", "f"])
def test_what_is_no_file_is_one_unreadable_image(name: str, make, tmp_path: Path, draw) -> None:
    draw(tmp_path / "in" / "a.png", 2)
    make(tmp_path / "in" / name.partition("#")[0])
    manifest = Manifest.load(_manifest(tmp_path, "a.png", name))
    stats = manifest_image_stats(manifest, workers=0, show_progress=False)
    assert stats.readable.tolist() == [True, False]
    assert {found.code for found in check_manifest(manifest, progress=False)} >= {"unreadable-image"}
    with pytest.raises(ImageError):
        read_image(manifest.source(1))


@pytest.mark.parametrize("make", _SPECIAL.values(), ids=_SPECIAL.keys())
def test_a_builder_refuses_a_folder_that_holds_what_is_no_file(make, tmp_path: Path, draw) -> None:
    for name in ("a", "b"):
        draw(tmp_path / "set" / name / "1.png", 1)
    make(tmp_path / "set" / "a" / "odd")
    for build in (build_folder, files_below):
        with pytest.raises(ManifestError, match=r"named pipes, devices or sockets \(a/"):
            build(tmp_path / "set")


@pytest.mark.parametrize("what", ["chunk", "folder", "pipe"])
def test_a_zarr_store_with_links_or_pipes_is_not_read(what: str, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    store = tmp_path / "in" / "s.zarr"
    array = zarr.create_array(store, name="x", shape=(2, 8, 8), chunks=(1, 8, 8), dtype="u1")
    array[:] = np.random.default_rng(0).integers(0, 256, (2, 8, 8))
    chunk = next(path for path in sorted(store.rglob("*")) if path.is_file() and path.suffix != ".json")
    place = chunk.parent if what == "folder" else chunk
    place.rename(tmp_path / "moved")
    os.mkfifo(place) if what == "pipe" else place.symlink_to(tmp_path / "moved")
    _, reasons = Manifest.load(_manifest(tmp_path, "s.zarr#x", "s.zarr#x")).stamps()
    assert reasons[0]


@pytest.mark.parametrize("which", ["the table", "the card"])
def test_a_manifest_that_is_a_pipe_is_one_message(tmp_path: Path, which: str) -> None:
    manifest = _manifest(tmp_path, "a.png")
    file = manifest if which == "the table" else manifest.with_suffix(".yaml")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ManifestError, match="is not a file"):
        Manifest.load(manifest)


def test_a_pipe_in_the_place_of_kept_numbers_is_replaced(tmp_path: Path, draw) -> None:
    draw(tmp_path / "in" / "a.png", 2)
    draw(tmp_path / "in" / "b.png", 3)
    manifest = Manifest.load(_manifest(tmp_path, "a.png", "b.png"))
    kept = tmp_path / "store" / "m" / "normalization.json"
    kept.parent.mkdir(parents=True)
    os.mkfifo(kept)
    found = [dataset_normalization(manifest, tmp_path / "store", workers=0, show_progress=False) for _ in range(2)]
    assert found[0] == found[1]
    assert kept.is_file()
