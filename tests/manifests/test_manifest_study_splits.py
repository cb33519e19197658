"""The studies' own splits, to the row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS, DatasetCard, Manifest, resplit
from medprobe.manifests.summary.counts import class_counts
from published_trees import aptos2019, cbis_ddsm, chexpert, ddsm_lists, isic2019


def _rows(count: int) -> Manifest:
    names = [f"{row:06d}" for row in range(count)]
    table = pd.DataFrame({"sample_id": names, "path": names, "label": ["a", "b"] * (count // 2) + ["a"] * (count % 2)})
    return Manifest(table, DatasetCard(name="rows", task="binary", classes=["a", "b"]))


def _drawn(manifest: Manifest, builder: str, split: str = "huix2024") -> pd.Series:
    return resplit(manifest, split, BUILDERS[builder].splits).table["split"]


@pytest.mark.parametrize(
    ("builder", "count", "sizes", "first_of_val"),
    [
        ("aptos2019", 3662, (2564, 549, 549), (2791, 2171, 1708, 2071, 1406, 1968)),
        ("isic2019", 25331, (20265, 2533, 2533), (19993, 22352, 7, 6495, 15314, 17088)),
        ("aptos2019", 10, (7, 1, 2), (7,)),
        ("isic2019", 14, (12, 1, 1), (8,)),
    ],
)
def test_random_splits_are_the_study_s_own_to_the_row(builder, count, sizes, first_of_val) -> None:
    split = _drawn(_rows(count), builder)
    assert tuple((split == part).sum() for part in ("train", "val", "test")) == sizes
    assert set(split.iloc[list(first_of_val)]) == {"val"}


def test_a_split_in_the_manner_of_huang_keeps_a_published_test_and_divides_the_rest_by_image() -> None:
    rows = _rows(400)
    drawn = _drawn(rows, "ichallenge-amd", "huang2024")
    assert drawn.value_counts().to_dict() == {"train": 256, "val": 64, "test": 80}
    published = Manifest(rows.table.assign(split=["test"] * 100 + ["val"] * 16 + ["train"] * 284), rows.card)
    drawn = _drawn(published, "kermany-cxr", "huang2024")
    assert drawn.value_counts().to_dict() == {"train": 228, "val": 72, "test": 100}
    assert set(drawn[:100]) == {"test"}
    assert set(drawn[100:116]) == {"val"}


def test_held_out_rows_are_counted_as_the_study_s_code_counts_them() -> None:
    for count in (*range(2, 23), 95, 3335):
        for builder, share in (("aptos2019", 0.3), ("isic2019", 0.2)):
            split = _drawn(_rows(count), builder)
            held = int(count * share)
            assert (split == "val").sum() == held // 2
            assert (split == "test").sum() == held - held // 2


def test_a_preset_counts_rows_in_the_order_of_the_published_table(tmp_path: Path, medprobe) -> None:
    for name, tree in (("aptos2019", aptos2019(tmp_path / "a")), ("isic2019", isic2019(tmp_path / "i"))):
        out = tmp_path / f"{name}.parquet"
        message = medprobe("manifest", "build", name, tree.src, "--split", "huix2024", "--keep-ids", "--out", out)
        assert message.status == 0
        manifest = Manifest.load(out)
        assert manifest.table["split"].equals(_drawn(_rows(len(manifest)), name))
        published = tree.file.read_text().splitlines()[1:]
        assert manifest.sample_ids.tolist() == [line.split(",")[0] for line in published]


@pytest.mark.parametrize("patients", [8, 20, 33])
def test_chexpert_is_cut_where_pandas_cuts_the_study_s_table(tmp_path: Path, patients: int) -> None:
    tree = chexpert(tmp_path, patients)
    drawn = _drawn(tree.build(valid="none", unit="image"), "chexpert")
    # Slices by label include both ends, and labels are the numbers of rows before sorting.
    sorted_rows = pd.read_csv(tree.file).sort_values("Path")
    cut = int(len(sorted_rows) * 0.2) + 15
    held = sorted_rows.loc[:cut]
    half = len(held) // 2
    train, val, test = sorted_rows.loc[cut:].index, held.loc[:half].index, held.loc[half:].index
    assert set(np.flatnonzero(drawn == "test")) == set(test)
    # The row at each cut is on both sides in the study; here it is in test alone.
    assert set(np.flatnonzero(drawn == "val")) == set(val) - set(test)
    assert set(np.flatnonzero(drawn == "train")) == set(train) - set(test)
    assert len(set(val) & set(test)) == len(set(train) & set(test)) == 1


def test_the_cut_of_chexpert_refuses_a_table_that_is_not_whole(tmp_path: Path) -> None:
    tree = chexpert(tmp_path, 8)
    with pytest.raises(ManifestError, match="build with --valid none, and it is by image"):
        _drawn(tree.build(), "chexpert")
    with pytest.raises(ManifestError, match="build without --frontal-only"):
        _drawn(tree.build(valid="none", unit="image", frontal_only=True), "chexpert")
    with pytest.raises(ManifestError, match="too few rows"):
        _drawn(chexpert(tmp_path / "few", 5).build(valid="none", unit="image"), "chexpert")


def test_the_lists_of_ddsm_are_their_own_split(tmp_path: Path) -> None:
    manifest = ddsm_lists(tmp_path / "lists").build()
    assert _drawn(manifest, "cbis-ddsm").equals(manifest.table["split"])
    assert class_counts(manifest).sum().to_dict() == {"train": 3, "val": 2, "test": 2, "total": 7}
    with pytest.raises(ManifestError, match="is the split of ddsm_raw_image_lists/"):
        _drawn(cbis_ddsm(tmp_path / "tables").build(), "cbis-ddsm")
