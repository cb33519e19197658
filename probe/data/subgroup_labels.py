"""Attributes of units as subgroups: one label per unit and attribute, coarse enough not to identify anyone."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from ...manifests import Units

MOST_SUBGROUPS = 50
"""An attribute with more values is a date, a name or an identifier, and is not kept."""
_FEW_VALUES = 10
"""Numbers with at most so many values are kept as they are; others become quartiles."""
_AGES = (0, 18, 40, 60, 75, 90)
# An age over 89 is an identifier by the Safe Harbor rule, 45 CFR 164.514(b)(2)(i)(C).
_OLDEST = "90+"
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_DICOM_AGE = re.compile(r"(\d{1,3})([DWMY])?")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


def subgroups_of(units: Units) -> tuple[pd.DataFrame, list[str]]:
    """The subgroups of all units in all attributes of the card.

    Returns:
        One row per attribute and unit that has it: `unit` and `group` (positions), `attribute`, `value`; and messages
        about attributes that are not kept.
    """
    messages, parts = [], []
    for name in sorted(units.attributes.columns):
        words, why = subgroup_column(name, units.attributes[name])
        messages += [why] if why else []
        known = np.flatnonzero(words != "")
        about = {"unit": known.astype(np.int32), "group": units.group[known].astype(np.int32)}
        parts.append(pd.DataFrame({**about, "attribute": name, "value": words[known].astype(str)}))
    empty = pd.DataFrame({"unit": np.empty(0, np.int32), "group": np.empty(0, np.int32), "attribute": [], "value": []})
    return (pd.concat(parts, ignore_index=True) if parts else empty), messages


def subgroup_column(name: str, values: pd.Series) -> tuple[np.ndarray, str]:
    """The subgroup of each unit in one attribute.

    Words are kept, ages in years become bins (one for all over 89), other numbers with more than ten values become
    quartiles. An attribute with the word "age" in its name holds ages, as numbers or as DICOM has them (`045Y`).

    Returns:
        (U,) object array of str, "" where a unit has none; and why the attribute is not kept, or "".
    """
    if "age" in [word.lower() for word in _WORD.findall(name)]:
        words = np.array([_age_in_words(word) for word in _as_text(values)], dtype=object)
    elif pd.api.types.is_bool_dtype(values.dtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        words = np.array(_as_text(values), dtype=object)
    else:
        words = _numbers_in_words(values.to_numpy("float64", na_value=np.nan))
    found = len(set(words) - {""})
    if found > MOST_SUBGROUPS:
        return np.full(len(words), "", dtype=object), (
            f'attribute "{name}": {found:,} different values are too many for subgroups, so it is not kept'
        )
    return words, ""


def _as_text(values: pd.Series) -> list[str]:
    return ["" if missing else str(value).strip() for value, missing in zip(values, values.isna(), strict=True)]


def _age_in_words(text: str) -> str:
    written = _DICOM_AGE.fullmatch(text)
    if written:
        years = float(written[1]) * _YEARS[written[2] or "Y"]
    else:
        try:
            years = float(text)
        except ValueError:
            # Other words ("60 to 64") are kept, unless they give an age over 89.
            return _OLDEST if any(int(number) >= _AGES[-1] for number in re.findall(r"\d+", text)) else text
    if not np.isfinite(years) or years < 0:
        return ""
    if years >= _AGES[-1]:
        return _OLDEST
    place = int(np.searchsorted(_AGES, years, side="right"))
    return f"{_AGES[place - 1]}-{_AGES[place] - 1}"


def _numbers_in_words(numbers: np.ndarray) -> np.ndarray:
    known = np.isfinite(numbers)
    distinct = np.unique(numbers[known])
    words = np.full(len(numbers), "", dtype=object)
    if len(distinct) <= _FEW_VALUES:
        words[known] = [f"{value:g}" for value in numbers[known]]
        return words
    edges = np.quantile(numbers[known], [0.25, 0.5, 0.75])
    names = [*(f"{place}: to {edge:g}" for place, edge in enumerate(edges, 1)), f"4: above {edges[2]:g}"]
    words[known] = [names[place] for place in np.searchsorted(edges, numbers[known], side="left")]
    return words
