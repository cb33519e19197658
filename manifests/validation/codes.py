"""What a manifest is checked for: the codes of findings, how bad each is, and what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


IMAGES = ("image", "images")
"""What most findings are of; an image is a row of the manifest."""


class Code(NamedTuple):
    """What a code stands for."""

    severity: Severity
    """An error makes results wrong or the work impossible; a warning may be meant."""
    meaning: str
    """In a few words."""
    remedy: str
    """What to do about it, in a sentence or two."""
    thing: tuple[str, str] = IMAGES
    """What each finding is of, one and several, such as a pair; an image is a row of the manifest."""


_CLASSES, _COPIES = ("class", "classes"), ("set of identical images", "sets of identical images")
_GROUPS, _PAIRS, _UNITS = ("group", "groups"), ("pair", "pairs"), ("unit", "units")

CODES: dict[str, Code] = {
    "empty-manifest": Code("error", "there are no rows", "Build the manifest again.", ("table", "tables")),
    "blank-id": Code("error", "a sample, unit or group has no id", "Fill the field, or leave the row out."),
    "duplicate-id": Code(
        "error", "several rows have one sample_id", "Give each row an id of its own, or remove those pasted twice.",
        ("id", "ids"),
    ),
    "blank-path": Code("error", "a row names no image", "Fill the field, or leave the row out."),
    "blank-label": Code("error", "a row has no label", "Fill the field, or leave the row out."),
    "unknown-label": Code("error", "a label is not in the card", "Mend the label, or add the class to the card."),
    "unknown-split": Code("error", "not train, val or test", "Write one of the three words."),
    "bad-frame": Code("error", "a frame is no whole number", "Write a number from 0 up, or nothing for one image."),
    "unit-two-labels": Code(
        "error", "a unit's samples differ in label", "Mend the label, or name smaller units in unit_id.", _UNITS
    ),
    "unit-two-groups": Code(
        "error", "a unit's samples differ in group", "Mend unit_id or group_id: a unit is of one patient.", _UNITS
    ),
    "unit-two-splits": Code("error", "a unit's samples differ in split", "Put the whole unit on one side.", _UNITS),
    "missing-file": Code(
        "error", "the file is not there",
        "Fetch the file, or mend the path; where all are missing, the card's root is wrong.",
    ),
    "unreadable-image": Code(
        "error", "the file is no readable image", "Fetch the file again, convert it, or leave the row out."
    ),
    "path-outside-root": Code(
        "error", "a path leaves the card's root", "Set the card's root to a folder above all images."
    ),
    "constant-image": Code("warning", "all pixels are the same", "Leave them out: they can teach and test nothing."),
    "extreme-aspect": Code(
        "warning", "an image far from square",
        "Look at them; most networks squash or crop an image to a square. Crop them, cut them into parts, or leave "
        "them out.",
    ),
    "burned-in-text": Code(
        "warning", "what looks like text in pixels",
        "Look at the images, the surest first; if it is text, mask it in all classes alike, since it may tell the "
        "hospital, the diagnosis or the patient.",
    ),
    "group-across-splits": Code(
        "error", "a group is on both sides of a split",
        "Put the whole group on one side, or leave out the column split: networks recognise patients, so test scores "
        "are too high.", _GROUPS,
    ),
    "pixels-across-splits": Code(
        "error", "one image on both sides of a split",
        "What is tested was trained on, so scores are too high. `--fix` writes a manifest without such sets: "
        "drop-duplicates keeps one of each, group-duplicates puts each on one side.", _COPIES,
    ),
    "pixels-two-labels": Code(
        "warning", "one image, different labels",
        "One of the labels is wrong, or the image shows both; ask whoever labelled it, or leave it out of test.",
        _COPIES,
    ),
    "pixels-repeated": Code(
        "warning", "one image under several ids",
        "They count several times; `--fix drop-duplicates` keeps one of each set. Where they are in different groups, "
        "a split drawn anew may put them on both sides; `--fix group-duplicates` keeps each set together.", _COPIES,
    ),
    "near-duplicate": Code(
        "warning", "nearly one image in two splits or groups",
        "Look at a few, the nearest first; if they show one scan or one patient, give the pair one group_id and draw "
        "the split anew. 1.000 is alike but for brightness, contrast and fine detail.", _PAIRS,
    ),
    "near-embedding": Code(
        "warning", "alike to a network, in two splits or groups",
        "Look at a few, the nearest first; if they show one scan or one patient, give the pair one group_id and draw "
        "the split anew.", _PAIRS,
    ),
    "no-groups": Code(
        "warning", "names look like several images a patient",
        "Name the patient of each image in a column group_id, for instance with `build csv --group-column`.",
    ),
    "unit-two-attributes": Code(
        "warning", "a unit's samples differ in attribute",
        "Mend the attribute; until then its value is unknown for the unit in subgroup scores.", _UNITS,
    ),
    "rare-class": Code(
        "warning", "a class has under 10 units", "Gather more, merge classes, or leave it out and say so.", _CLASSES
    ),
    "absent-class": Code(
        "warning", "a class is absent from a split",
        "Draw another split (`build --split grouped:80/20`), gather more, or leave the class out and say so: a class "
        "that train lacks cannot be learnt, one that test lacks cannot be scored.", _CLASSES,
    ),
    "alike-names": Code(
        "warning", "classes or groups that differ only in spelling",
        "If they are one, write them alike in the table and build again: else a class is cut in two, or a patient "
        "stands on both sides of a split.", ("set of names", "sets of names"),
    ),
    "label-like-id": Code(
        "warning", "labels look like ids", "Make sure that the card's label_column is the right one.",
        ("column", "columns"),
    ),
    "format-tells-class": Code(
        "warning", "a class is told by size or format alone",
        "A network may learn how files were stored instead of the disease. Bring all images to one size, mode and "
        "format; where file size alone tells, try a set from another source. AUC 0.5 is chance, 1 is certain.",
        _CLASSES,
    ),
}  # fmt: skip
"""Every code a finding may bear. They are stable, so scripts may rely on them; docs/checks.md has a section on each."""
