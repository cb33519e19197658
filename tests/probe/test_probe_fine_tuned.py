"""A run that tests on what a network was fine-tuned on has a warning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_CODE = "fine-tuned-on-test"


def test_what_a_network_was_fine_tuned_on_is_found_by_patient_and_counted_among_what_may_be_tested(
    tmp_path: Path, official, study_of, cache_of
) -> None:
    split, ids = official.manifest.units().split, official.manifest.sample_ids
    vectors = {"cls": official.caches[0].load("cls")}

    def found(name: str, rows: np.ndarray, protocol: str) -> str:
        cache = cache_of(tmp_path / name, "cohort", ids, vectors, trained_on=rows)
        info = official.probe(caches=[cache], protocol=protocol).info
        return dict(zip(info["warning_codes"], info["warnings"], strict=True)).get(_CODE, "")

    train, one_exam = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")[:1]
    assert found("train", train, "official") == ""
    assert "fine-tuned on 90 of the 120 units" in found("train", train, "holdout")
    # The other exam of the patient counts too.
    assert "fine-tuned on 2 of the 30 test units" in found("one", one_exam, "official")
    assert "fine-tuned on 2 of the 120 units" in found("one", one_exam, "kfold")
    abroad = study_of(tmp_path / "abroad", name="abroad", units=60, signal=(0.9,))
    theirs = cache_of(
        tmp_path / "x",
        "abroad",
        abroad.manifest.sample_ids,
        {"cls": abroad.caches[0].load("cls")},
        trained_on=np.arange(10),
    )
    ours = cache_of(tmp_path / "y", "cohort", ids, vectors)
    assert _CODE in official.probe(caches=[ours], external=(abroad.manifest, [theirs])).info["warning_codes"]
