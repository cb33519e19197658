from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from medprobe.manifests import DatasetCard, Diagnostic, Manifest, build_folder, check_manifest
from medprobe.manifests.image_stats.burned_in_text import FEWEST, letters_in_a_row
from PIL import Image, ImageDraw, ImageFont


def _found(manifest: Manifest, code: str) -> list[Diagnostic]:
    return [one for one in check_manifest(manifest, progress=False) if one.code == code]


def _write(picture: Image.Image, words: str, size: int, ink: int, at: tuple[int, int] = (4, 3)) -> Image.Image:
    face = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    ImageDraw.Draw(picture).text(at, words, ink, ImageFont.truetype(str(face), size))
    return picture


def test_constant_images_are_told_in_one_finding_whatever_their_colour(class_folders: Path) -> None:
    for number, colour in enumerate((0, 77, 255)):
        Image.new("L", (20, 20), colour).save(class_folders / "train" / "cat" / f"a{number}.png")
    Image.new("RGB", (20, 20), (200, 30, 30)).save(class_folders / "test" / "dog" / "red.png")
    # Two colours of one brightness: grey sees one level, the image is not constant.
    two = np.zeros((20, 20, 3), np.uint8)
    two[:10], two[10:] = (100, 0, 0), (0, 51, 0)
    assert len(set(np.asarray(Image.fromarray(two).convert("L")).ravel())) == 1
    Image.fromarray(two).save(class_folders / "test" / "dog" / "two.png")
    (found,) = _found(build_folder(class_folders), "constant-image")
    assert set(found.samples) == {*(f"train/cat/a{number}.png" for number in range(3)), "test/dog/red.png"}
    assert found.message.startswith("4 rows (")


def test_blank_slices_of_two_patients_are_no_leak(class_folders: Path) -> None:
    for side in ("train", "test"):
        Image.new("L", (20, 20)).save(class_folders / side / "cat" / "blank.png")
    codes = {one.code for one in check_manifest(build_folder(class_folders), progress=False)}
    assert codes == {"constant-image"}


@pytest.mark.parametrize(("size", "extreme"), [((40, 10), False), ((41, 10), True), ((10, 41), True), ((12, 1), False)])
def test_an_image_of_one_long_side_is_told(class_folders: Path, draw, size: tuple[int, int], extreme: bool) -> None:
    draw(class_folders / "train" / "cat" / "odd.png", 99, size)
    found = _found(build_folder(class_folders), "extreme-aspect")
    assert [one.samples for one in found] == ([("train/cat/odd.png",)] if extreme else [])
    if extreme:
        assert f"{size[1]} x {size[0]}" in found[0].message
        assert "row " in found[0].message


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (40, 200), (230, 20)])
def test_text_on_even_ground_is_found_bright_or_dark(ground: int, ink: int) -> None:
    picture = _write(Image.new("L", (224, 224), ground), "DOE JOHN 1962-03-14", 12, ink)
    assert letters_in_a_row(picture) >= FEWEST
    assert letters_in_a_row(Image.new("L", (224, 224), ground)) == 0


def test_text_of_a_large_image_is_found_after_it_was_averaged_down() -> None:
    picture = _write(Image.new("L", (3000, 2000)), "PATIENT 0042", 60, 255, (30, 20))
    assert letters_in_a_row(picture) >= FEWEST


@pytest.mark.parametrize("seed", range(3))
def test_noise_blobs_and_marks_of_one_letter_are_no_text(seed: int) -> None:
    random = np.random.default_rng(seed)
    assert letters_in_a_row(_write(Image.new("L", (224, 224)), "L", 16, 255)) == 0
    coarse = Image.fromarray(random.integers(0, 256, (28, 28), dtype=np.uint8))
    assert letters_in_a_row(coarse.resize((224, 224), Image.Resampling.BICUBIC)) == 0
    discs = Image.new("L", (224, 224), 20)
    for x, y, radius in random.integers((0, 0, 3), (224, 224, 12), (60, 3)):
        ImageDraw.Draw(discs).ellipse((x - radius, y - radius, x + radius, y + radius), int(random.integers(90, 256)))
    assert letters_in_a_row(discs) == 0


@pytest.mark.realdata
def test_of_clean_brain_images_none_and_of_written_ones_most_are_told(realdata: Path, tmp_path: Path) -> None:
    files = sorted((realdata / "brain-mri" / "train").rglob("*.jpg"))[::10]
    rows = []
    for number, file in enumerate(files):
        picture = Image.open(file).convert("L").resize((512, 512), Image.Resampling.BICUBIC)
        if number % 2:
            _write(picture, "ID 00482913 77F", 14, 210, (6, 4 + 480 * (number % 4 == 1)))
        picture.save(tmp_path / f"{number:03d}.jpg", quality=80)
        rows.append({"sample_id": f"{number}", "path": f"{number:03d}.jpg", "label": "ab"[number % 2]})
    card = DatasetCard(name="t", task="binary", classes=["a", "b"], root=str(tmp_path))
    (found,) = _found(Manifest(pd.DataFrame(rows), card), "burned-in-text")
    told = [int(sample) for sample in found.samples]
    assert all(number % 2 for number in told)
    assert len(told) >= 0.9 * (len(files) // 2)
