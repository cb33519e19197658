from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ManifestError
from medprobe.evaluate import draw_resamples
from medprobe.manifests import (
    DatasetCard,
    ImageStats,
    Manifest,
    build_folder,
    check_manifest,
    drop_duplicates,
    group_duplicates,
    manifest_image_stats,
)
from medprobe.manifests.checks.fix_duplicates import FIXES
from medprobe.manifests.image_stats.compute import Facts


def _survey(contents: list[int], constant: tuple[int, ...] = ()) -> ImageStats:
    """As if the images had these contents; a negative one could not be read."""
    digests = [f"{content:032x}" if content >= 0 else "" for content in contents]
    return ImageStats.of([Facts(digest, constant=n in constant) for digest, n in zip(digests, contents, strict=True)])


def _manifest(**columns: list[str]) -> Manifest:
    count = len(columns["label"])
    table = pd.DataFrame({"sample_id": [f"s{row}" for row in range(count)], "path": "x.png", **columns})
    return Manifest(table, DatasetCard(name="t", task="binary", classes=["a", "b"]))


def test_of_copies_the_one_in_test_is_kept_and_else_the_first() -> None:
    manifest = _manifest(label=["a"] * 7, split=["train", "test", "val", "train", "val", "train", "train"])
    fixed = drop_duplicates(manifest, _survey([1, 1, 1, 2, 2, 3, 3]))
    assert list(fixed.manifest.sample_ids) == ["s1", "s4", "s5"]
    assert fixed.changes == ("dropped 4 copies of 3 images (3 from train, 1 from val)",)


def test_copies_with_different_labels_are_all_dropped() -> None:
    manifest = _manifest(label=["a", "b", "a", "a"], split=["train", "test", "train", "train"])
    fixed = drop_duplicates(manifest, _survey([1, 1, 2, -1]))
    assert list(fixed.manifest.sample_ids) == ["s2", "s3"]
    assert "all 2 copies of 1 image with different labels" in fixed.changes[0]


def test_a_unit_keeps_its_other_samples_and_its_own_equal_slices() -> None:
    manifest = _manifest(label=["a"] * 6, unit_id=["u", "u", "u", "v", "v", "v"])
    fixed = drop_duplicates(manifest, _survey([1, 1, 2, 1, 3, 4]))
    assert list(fixed.manifest.sample_ids) == ["s0", "s1", "s2", "s4", "s5"]


def test_groups_that_share_pixels_become_one_through_any_chain() -> None:
    manifest = _manifest(label=["a"] * 7, group_id=["z", "c", "c", "b", "q", "q", "r"])
    fixed = group_duplicates(manifest, _survey([1, 1, 2, 2, 3, -1, -1]))
    assert list(fixed.manifest.table["group_id"]) == ["b", "b", "b", "b", "q", "q", "r"]
    tied = "tied 3 groups into 1 group by identical or nearly identical images; the largest has 3 groups"
    assert fixed.changes == (tied,)


def test_a_tied_group_on_both_sides_moves_to_train_as_a_whole() -> None:
    split = ["train", "test", "test", "test", "val", "test"]
    manifest = _manifest(label=["a"] * 6, group_id=list("ppqrst"), split=["train", "train", *split[2:]])
    fixed = group_duplicates(manifest, _survey([0, 1, 1, 2, 3, 4]))
    assert list(fixed.manifest.table["split"]) == ["train", "train", "train", "test", "val", "test"]
    assert "moved 1 group" in fixed.changes[1]
    assert "(1 from test)" in fixed.changes[1]


def test_constant_images_tie_and_drop_nothing() -> None:
    manifest = _manifest(label=["a", "b", "a"], group_id=["p", "q", "r"])
    survey = _survey([7, 7, 7], constant=(7,))
    assert list(group_duplicates(manifest, survey).manifest.table["group_id"]) == ["p", "q", "r"]
    assert len(drop_duplicates(manifest, survey).manifest) == 3


def test_a_fix_that_would_leave_nothing_is_refused() -> None:
    with pytest.raises(ManifestError, match="different labels"):
        drop_duplicates(_manifest(label=["a", "b"]), _survey([1, 1]))
    with pytest.raises(ManifestError, match="test"):
        group_duplicates(_manifest(label=["a", "a"], split=["train", "test"]), _survey([1, 1]))


@given(st.data())
def test_no_content_stands_on_two_sides_of_a_fixed_manifest(data: st.DataObject) -> None:
    count = data.draw(st.integers(4, 24))
    of = lambda options: data.draw(st.lists(st.sampled_from(options), min_size=count, max_size=count))  # noqa: E731
    groups = of(["g1", "g2", "g3", "g4", "g5", "g6"])
    sides = {group: data.draw(st.sampled_from(["train", "val", "test"])) for group in sorted(set(groups))}
    contents = of([-1, *range(8)])
    manifest = _manifest(label=of(["a", "b"]), group_id=groups, split=[sides[group] for group in groups])
    survey = _survey(contents)
    for fix in FIXES.values():
        try:
            fixed = fix(manifest, survey)
        except ManifestError:
            continue
        fixed.manifest.require_sound()
        left = np.array(contents)[fixed.rows]
        split, group = (fixed.manifest.table[name].to_numpy() for name in ("split", "group_id"))
        assert all(len(set(split[left == content])) == 1 for content in set(left.tolist()) - {-1})
        assert all(len(set(split[group == name])) == 1 for name in set(group))
        before = manifest.table["split"].to_numpy()[fixed.rows]
        assert ((split == before) | (split == "train")).all()  # the new test is a part of the old one
        assert (left == -1).sum() == contents.count(-1)


@pytest.mark.parametrize("fix", list(FIXES))
def test_the_command_writes_a_new_manifest_and_never_touches_the_old(
    fix: str, class_folders: Path, tmp_path: Path, medprobe
) -> None:
    shutil.copy(class_folders / "train/cat/00.png", class_folders / "test/cat/copy.png")
    old = build_folder(class_folders).save(tmp_path / "old.parquet").path
    before = {file: file.read_bytes() for file in (old, old.with_suffix(".yaml"))}
    words = ("manifest", "check", old, "--fix", fix)
    assert medprobe(*words).status == 1  # where to?
    assert medprobe(*words, "--out", old, "--overwrite").status == 1
    assert medprobe(*words, "--out", tmp_path / "old.csv", "--overwrite").status == 1  # its card is old.yaml
    (tmp_path / "deeper").mkdir()
    new = tmp_path / "deeper" / "new.parquet"
    status, _, told = medprobe(*words, "--out", new)
    assert (status, f"{fix}: " in told) == (0, True)
    assert {file: file.read_bytes() for file in before} == before
    assert medprobe("manifest", "check", new).status == 0
    assert medprobe(*words, "--out", new).status == 1
    assert medprobe(*words, "--out", new, "--overwrite").status == 0
    assert medprobe("manifest", "check", old).status == 1


@pytest.mark.realdata
def test_the_fixed_brain_manifest_passes_and_no_resample_has_a_pair_on_both_sides(realdata: Path, tmp_path) -> None:
    manifest = build_folder(realdata / "brain-mri").save(tmp_path / "brain.parquet")
    survey = manifest_image_stats(manifest, show_progress=False)
    for name, fix in FIXES.items():
        fixed = fix(manifest, survey)
        saved = fixed.manifest.save(tmp_path / f"{name}.parquet")
        assert not [one for one in check_manifest(saved, progress=False) if one.severity == "error"]
        units = saved.units()
        content = pd.factorize(survey.digest[fixed.rows])[0]
        for protocol in ("official", "holdout", "kfold"):
            for drawn in draw_resamples(units, 5, classes=saved.card.classes, protocol=protocol):
                sides = [
                    set(content[np.isin(units.sample_unit, part)]) for part in (drawn.train, drawn.val, drawn.test)
                ]
                assert len(set.union(*sides)) == sum(map(len, sides))
