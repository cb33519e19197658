"""What was done to which data, in words: the cohort, the embeddings, the protocol, the statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ...base import counted
from ...base.text import NONE, listed, lower_first
from ...evaluate import find_metric
from ...evaluate.resampling.leaks import REASONS
from ...evaluate.resampling.protocols import FIXED_TEST
from ...evaluate.results.recipe_words import setting_in_words
from ...manifests.schema.card import class_words
from ..elements.table import Table, words
from .data import ReportData

MOST_CLASSES = 60
"""Classes up to which a table on the page names each."""

_AGGREGATIONS = {
    "mean": "The images of a unit are averaged into one vector.",
    "max": "The images of a unit become one vector by the maximum of each feature.",
    "concat": "The images of a unit become one vector: averaged within a modality, then modalities concatenated.",
    "predictions": "A probe is fitted on images, each with its unit's label; the probability of a unit is the mean over"
    " its images.",
}


_LEFT_OUT = (
    "Left out before anything was drawn: {} known to be in the test too (by patient, by identical pixels or, where they"
    " were looked for, by near-duplicates). A probe that recognises an image would seem better than it is. The test is"
    " as published. Every {} was also fitted with these units; that score is shown beside the one without them, and"
    " nothing else rests on it."
)


def about_data(data: ReportData) -> list[tuple[str, str]]:
    """The data set in a few lines: name of the fact, and the fact."""
    dataset, tested = data.run.info["dataset"], data.run.info.get("external")
    classes = counted(len(dataset["classes"]), "class", "classes")
    facts = {
        "Task": f"{dataset['task']} classification, {classes}",
        "Units": f"{dataset['units']:,} (what gets one label and one prediction)",
        "Groups": f"{dataset['groups']:,} (patients: never in both train and test)",
        "Images": f"{dataset['samples']:,}",
        "Skipped": _skipped(dataset),
        "Leaks": _leaks(data.run.info),
        "Licence": dataset["license"] or "not stated",
        "Citation": dataset["citation"] or "not stated",
        "Manifest digest": dataset["digest"],
    }
    if tested:
        facts["Tested on"] = (
            f"{tested['name']}: {counted(tested['units'], 'unit')} of {counted(tested['groups'], 'group')},"
            f" {counted(tested['samples'], 'image')}; skipped: {_skipped(tested)};"
            f" licence {tested['license'] or 'not stated'}; citation {tested['citation'] or 'not stated'};"
            f" manifest digest {tested['digest']}"
        )
    return [(name, str(text)) for name, text in facts.items()]


def _skipped(dataset: Mapping[str, Any]) -> str:
    images, units = dataset["samples_left_out"], dataset["units_left_out"]
    if not images and not units:
        return "nothing"
    return f"{counted(images, 'image')} and {counted(units, 'unit')}, for every backbone"


def _leaks(info: Mapping[str, Any]) -> str:
    leaks = info["leaks"]
    if leaks["kept"]:
        return "not looked for: a unit that is in the test too may be trained on"
    counts = [f"{count:,} by {REASONS[name]}" for name, count in leaks["units_left_out"].items() if count]
    total = sum(leaks["units_left_out"].values())
    units, groups = counted(total, "training unit"), counted(leaks["groups_tied"], "group")
    out = f"{units} left out ({listed(counts)})" if total else "no unit left out"
    return out + (f"; {groups} tied to others by images in common" if leaks["groups_tied"] else "")


def class_counts(data: ReportData) -> Table:
    """Units of each class, in all and by the data set's own split; of an external test beside them."""
    dataset, tested = data.run.info["dataset"], data.run.info.get("external")
    if tested:  # the data set's own split plays no part then
        counts = {dataset["name"]: dataset["units_per_class"], f"{tested['name']} (test)": tested["units_per_class"]}
    else:
        counts = {**dataset["units_per_class_and_split"], "All": dataset["units_per_class"]}
    rows = [(name, *(f"{count[name]:,}" for count in counts.values())) for name in dataset["classes"][:MOST_CLASSES]]
    kind, _ = class_words(dataset["task"])
    caption = f"Units of each {kind}" + (" by the data set's own split." if len(counts) > 1 and not tested else ".")
    if len(dataset["classes"]) > MOST_CLASSES:
        caption += f" The first {MOST_CLASSES} of {len(dataset['classes'])} classes."
    return Table("class_counts", caption, (kind.capitalize(), *map(str, counts)), tuple(rows), 1)


def embeddings(data: ReportData) -> Table:
    """What each backbone's embeddings were made with."""

    def made_by(cache: dict[Any, Any]) -> str:
        spec = cache["spec"]
        return ", ".join(filter(None, (spec.get("precision"), spec.get("runtime"), cache["device"]))) or NONE

    def model(cache: dict[Any, Any]) -> str:
        imported = cache.get("imported")
        if isinstance(imported, Mapping):
            return f"imported from {imported['file']} (SHA-256 {imported['digest'][:12]})"
        if "digest" in cache["spec"]:
            return f"an array in memory (BLAKE2b {cache['spec']['digest'][:12]})"
        return str(cache["spec"].get("model", NONE))

    cells = {
        "Backbone": words("backbone"),
        "Fingerprint": words("fingerprint"),
        "Model": model,
        "Weights (SHA-256)": lambda cache: str(cache["spec"].get("weights_digest", NONE))[:12],
        "Input": lambda cache: _input(cache["spec"]["transform"]) if "transform" in cache["spec"] else NONE,
        "Vectors": lambda cache: ", ".join(f"{pooling} ({dim})" for pooling, dim in cache["dims"].items()),
        "Computed in": made_by,
        "Unreadable images": lambda cache: f"{cache['quarantined']:,}",
    }
    caption = (
        "The embeddings. The fingerprint is a hash of everything that can change the numbers; in brackets the length of"
        " each vector."
    )
    return Table.of("embeddings", caption, pd.DataFrame(data.run.info["caches"]), cells, 7)


def _input(transform: Mapping[str, Any]) -> str:
    height, width = transform["size"]
    how = {"short-side": "centre crop", "squash": "aspect ignored"}
    return f"{height} × {width}, {transform['interpolation']}, {how.get(transform['resize'], transform['resize'])}"


def protocol(data: ReportData) -> list[str]:
    """What was done, a paragraph each."""
    info = data.run.info
    if data.searched:
        return [_searched(info), *_combined(data)]
    cut = (
        f"For the low-data curve the training part of each {data.draw} was cut down to {listed(data.budgets)}"
        " (shots are units of each class), groups taken whole in an order drawn by the seed; the units of a smaller"
        " budget are among those of a larger one of its kind. Validation and test stayed whole, and no tested model was"
        " fitted on validation. The verdict and, unless stated otherwise, the figures are of the largest budget."
    )
    units = counted(data.left_out, "training unit")
    chosen_by = lower_first(find_metric(data.run.primary_metric).label)
    paragraphs = [
        _resampling(info),
        *([_LEFT_OUT.format(units, "probe" if data.fine_tuned else "system")] if data.left_out else []),
        *([cut] if data.has_curve else []),
        *(_fitted(data, chosen_by, *kind) for kind in sorted(_kinds(data, "frozen", "refit"), reverse=True)),
    ]
    return [*paragraphs, *_combined(data)]


def _combined(data: ReportData) -> Iterator[str]:
    """How the images of a unit were combined, where a unit has several."""
    dataset = data.run.info["dataset"]
    kinds = _kinds(data, "aggregation") if dataset["samples"] > dataset["units"] else {}
    for (how,), names in kinds.items():
        of = f"{listed(names)}: " if len(kinds) > 1 else ""
        yield of + _AGGREGATIONS.get(how, f"The images of a unit are combined by {how}.")


def _searched(info: Mapping[str, Any]) -> str:
    """What a search did."""
    parts, leaks = info["dataset"]["units_per_class_and_split"], info["leaks"]
    queries, base = (f"{sum(parts[name].values()):,}" for name in ("test", "train"))
    apart = (
        "units of the query's own group (patient) may be found too"
        if leaks["kept"]
        else "none of the query's own group (patient), and of groups that share an image with it, is found"
    )
    return (
        f"Each of the {queries} units of the data set's test part is a query; the {base} of its train part are searched"
        f" for the nearest ones, by the vectors of the frozen backbones; {apart}. A unit is relevant where it has the"
        " query's class. Nothing was fitted and nothing was drawn, so there is one seed, and no spread over seeds."
    )


def _kinds(data: ReportData, *facts: str) -> dict[tuple[Any, ...], list[str]]:
    """Names of the probes, in a sentence, by what run.json says of them."""
    kinds: dict[tuple[Any, ...], list[str]] = {}
    for name, about in data.run.info["probes"].items():
        kinds.setdefault(tuple(about[fact] for fact in facts), []).append(lower_first(data.probe_label(name)))
    return kinds


def _fitted(data: ReportData, chosen_by: str, frozen: bool, refit: bool) -> str:
    """How the probes of one kind were fitted and tested."""
    names = listed(_kinds(data, "frozen", "refit")[frozen, refit])
    how = (
        f"Under {names} the backbones are frozen: each image became a vector once, and probes were fitted on vectors."
        if frozen
        else f"Under {names} the backbones were trained further, with a head on top of them."
    )
    tested = (
        "then fitted again on training and validation together, and scored once on test"
        if refit
        else "then scored once on test, as fitted on the training part"
    )
    return (
        f"{how} Hyper-parameters were chosen on validation by {chosen_by}; the chosen model was {tested}."
        " Nothing, scaling included, was ever fitted on test units."
    )


def _resampling(info: Mapping[str, Any]) -> str:
    settings, dataset, seeds = info["protocol_settings"], info["dataset"], len(info["seeds"])
    each = "the one seed" if seeds == 1 else f"each of {seeds} seeds"

    def percent(name: str) -> str:
        return f"{100 * settings[name]:.4g} %"

    def drawn() -> str:
        return f"{each} draws {percent('drawn_share_of_training_groups')} of the"

    if info["protocol"] == "holdout":
        shares = ", ".join(f"{percent(name)} {name}" for name in ("train", "val", "test"))
        how = f"{each} draws its own parts ({shares}), stratified by class."
    elif info["protocol"] == "kfold":
        how = (
            f"{each} splits the groups into {settings['folds']} folds, stratified by class, and tests each fold once;"
            f" of the other folds {percent('val_share_of_the_other_folds')} choose hyper-parameters. The score of a"
            " seed is the mean over its folds."
        )
    elif info["protocol"] == "official":
        val = "The data set's own validation part chooses."
        if not info["leaks"].get("units_left", dataset["units_per_class_and_split"]).get("val"):
            val = f"Of these, {percent('val_share_without_official_val')} choose hyper-parameters."
        how = (
            f"the test part is the data set's own, the same for all seeds; {drawn()} training groups, stratified by"
            f" class. {val}"
        )
    elif info["protocol"] == "fixed":
        how = f"train, validation and test are the data set's own, the same for {each}."
    else:
        how = (
            f"the test is the whole of another data set, {info['external']['name']}, the same for all seeds; {drawn()}"
            f" groups of {dataset['name']}, stratified by class, of which {percent('val_share')} choose"
            " hyper-parameters."
        )
    whole = "" if info["protocol"] == "fixed" and info["leaks"]["kept"] else ", and no group is in two parts"
    same = f"Every backbone and probe sees the same parts{whole}."
    return f"Protocol {info['protocol']}: {how} {same}"


_TESTS = {
    "corrected-t": "{} are compared seed by seed on the same resamples, by the corrected"
    " resampled t-test of Nadeau and Bengio (2003), which allows for training sets that overlap.",
    "jackknife": "{} are compared on the same test units by a paired jackknife over groups,"
    " to whose variance that of one seed is added; the ratio is compared with Student's t.",
}


def statistics(data: ReportData) -> list[str]:
    """How mean, SD, intervals and p-values are computed, one paragraph each."""
    two = {"backbones": "Two backbones under one probe", "probes": "Two probes on one backbone"}
    sides = two.get(data.between, "Two systems")
    used = [text.format(sides) for name, text in _TESTS.items() if (data.comparisons["test"] == name).any()]
    folds = " and over the folds of each" if data.draw == "fold" else ""
    spread = (
        f"Mean: over seeds{folds}. SD: the standard deviation over seeds: how much the score changes with another"
        " draw. It is not the standard error of the mean, because seeds share patients."
    )
    fixed = data.run.info["protocol"] in FIXED_TEST
    learnt = "" if fixed else " (a fifth of what seeds or folds have in common is added to its variance)"
    interval = (
        "95 % interval: Wilson's score interval for as many units as the jackknife over whole groups finds the test to"
        f" be worth{learnt}, with quantiles of Student's t, so that several images of one patient are not counted as"
        " independent; of a difference, the jackknife's own and, where few groups tell the two apart, what follows from"
        " the intervals of both (Zou and Donner 2008)."
    )
    tests = (
        f"p-values are two-sided and corrected by Holm (1979) for {counted(data.tested, 'comparison')};"
        " below 0.05 a difference is called significant. Not significant does not mean equal: the interval of the"
        " difference says what is still possible."
    )
    return [spread, interval, *used, *([tests] if used else [])]


def versions(data: ReportData) -> list[tuple[str, str]]:
    """Of the programs: those of the probes, then those that made each backbone's embeddings."""
    run = [f"{name} {version}" for name, version in data.run.info["versions"].items()]
    made = [
        (
            f"Embeddings of {cache['backbone']}",
            ", ".join(f"{name} {v}" for name, v in cache["versions"].items()) or NONE,
        )
        for cache in data.run.info["caches"]
    ]
    return [("Probes and scores", ", ".join(run)), *made]


def settings(data: ReportData) -> list[tuple[str, str]]:
    """Of each probe: what it was fitted with."""
    return [
        (
            data.probe_label(name),
            ", ".join(
                f"{key} = {setting_in_words(key, kind['settings'])}"
                for key, value in kind["settings"].items()
                if value not in ([], "") and key not in kind["settings"].get("search", {})
            ),
        )
        for name, kind in data.run.info["probes"].items()
    ]
