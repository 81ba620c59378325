"""Cross-validations of one cohort compared, subject by subject."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DeepTranslateLib.engine.comparison import (
    OverallResult,
    Table,
    friedman,
    holm,
    repeated_anova,
    wilcoxon_pairs,
)
from DeepTranslateLib.engine.crossvalidation import PLAN_FILE
from DeepTranslateLib.engine.crossvalidation_tables import METRICS, RESULTS_FILE, Row, case_rows
from DeepTranslateLib.engine.heldout import NETWORK

_OVERALL: dict[str, Callable[[Table], OverallResult]] = {
    "friedman": friedman,
    "anova": repeated_anova,
}


class ComparedError(ValueError):
    """Cross-validations cannot be compared; the message says why and what to do."""


def compare(rows: Sequence[Row], other: Sequence[Row], names: tuple[str, str]) -> list[Row]:
    """Compare the networks of two cross-validations subject by subject, after Wilcoxon and Holm.

    A subject's value is the mean over its seeds and images. Holm's correction is for all labels
    and numbers of slices of one metric.

    Args:
        rows: Of `case_rows`.
        other: Of the other cross-validation.
        names: What the two are called.

    Returns:
        For each number of slices, label and metric that both have: `subjects`, `median` of
        either, `statistic`, `p` and `corrected_p`.

    Raises:
        ComparedError: They share fewer than two subjects, or no label.
        ComparisonError: SciPy is not there.
    """
    return _compared([rows, other], names)[0]


def compare_several(
    results: Sequence[Sequence[Row]], names: Sequence[str]
) -> tuple[list[Row], list[Row]]:
    """Compare the networks of three cross-validations or more: all at once, and in pairs.

    A subject's value is the mean over its seeds and images; a subject counts where all have a
    finite one. Holm's correction is for all labels and numbers of slices of one metric, of the
    pairs also for the number of pairs.

    Args:
        results: Rows of `case_rows` of each.
        names: What they are called, each by another name.

    Returns:
        The pairs, as of `compare`, and for each number of slices, label and metric that all have
        a row with `subjects`, the names (`compared`), their `medians`, and the tests `friedman`
        and `anova` (with repeated measures): `statistic`, `degrees`, `p` and `corrected_p`.

    Raises:
        ComparedError: They share fewer than two subjects, or no label.
        ComparisonError: SciPy is not there, or there are fewer than three.
    """
    pairs, tables = _compared(results, names)
    overall: list[Row] = []
    for metric in dict.fromkeys(about["metric"] for about, _ in tables):
        rows: list[Row] = []
        for about, table in tables:
            if about["metric"] == metric:
                medians = [float(np.median(column)) for column in table.values()]
                rows.append({**about, "compared": list(names), "medians": medians})
                for test, function in _OVERALL.items():
                    result = function(table)
                    rows[-1][test] = {
                        "statistic": result.statistic,
                        "degrees": list(result.degrees),
                        "p": result.p,
                    }
        for test in _OVERALL:
            corrected = holm([row[test]["p"] for row in rows])
            for row, p in zip(rows, corrected, strict=True):
                row[test]["corrected_p"] = p
        overall += rows
    return pairs, overall


def read_results(folder: Path) -> list[Row]:
    """The cases of a finished cross-validation.

    Raises:
        ComparedError: The folder holds none.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise ComparedError(
            f"{folder} holds no finished cross-validation: {RESULTS_FILE} is missing. Give the "
            "folder that an earlier one was written to."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = case_rows(content["cases"], content["kind"])
    except (ValueError, KeyError, TypeError) as error:
        raise ComparedError(f"{path} is damaged ({error}). Run that one again.") from error
    if not rows:
        raise ComparedError(f"{path} holds no case. Run that one again.")
    return rows


def made_by(rows: Sequence[Row]) -> str:
    """What the networks of a cross-validation make, "labels" or "volume"; `rows` of `case_rows`."""
    return "labels" if rows[0]["label"] else "volume"


def refuse_other_folds(expected: Sequence[Sequence[str]], folder: Path) -> None:
    """Refuse a cross-validation of other subjects, or of the same ones in other folds.

    Args:
        expected: The subjects that each fold holds out.
        folder: Of a finished cross-validation.

    Raises:
        ComparedError: It has others; the message names them.
    """
    path = folder / PLAN_FILE
    try:
        found = [
            [str(name) for name in fold] for fold in json.loads(path.read_text("utf-8"))["folds"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ComparedError(
            f"{path}, which says who is held out in which fold, cannot be read ({error}). Give "
            "the whole folder that a cross-validation was written to."
        ) from error
    mine, theirs = ({name for fold in folds for name in fold} for folds in (expected, found))
    if mine != theirs:
        apart = [
            f"{what} {_listed(sorted(names))}"
            for what, names in (("lacks", mine - theirs), ("has also", theirs - mine))
            if names
        ]
        raise ComparedError(
            f"{folder} is a cross-validation of other subjects: expected {len(mine)} "
            f"({_listed(sorted(mine))}), found {len(theirs)} ({_listed(sorted(theirs))}); it "
            f"{' and '.join(apart)}. Compare cross-validations of the same cohort."
        )
    if {frozenset(fold) for fold in expected} != {frozenset(fold) for fold in found}:
        raise ComparedError(
            f"{folder} is a cross-validation with other folds: expected {_folds(expected)}; found "
            f"{_folds(found)}. Compare cross-validations with the same --folds, whose recipes "
            "have the same seed."
        )


def _compared(
    results: Sequence[Sequence[Row]], names: Sequence[str]
) -> tuple[list[Row], list[tuple[Row, dict[str, list[float]]]]]:
    """The rows of `compare` for each pair, and the tables that were tested with what they are."""
    makes = [made_by(rows) for rows in results]
    for name, kind in zip(names, makes, strict=True):
        if kind != makes[0]:
            raise ComparedError(
                f"'{names[0]}' makes {'labels' if makes[0] == 'labels' else 'volumes'} and "
                f"'{name}' does not. Compare cross-validations that make the same."
            )
    sides = [_by_subject(rows) for rows in results]
    found: list[Row] = []
    tables: list[tuple[Row, dict[str, list[float]]]] = []
    for metric, _, _ in METRICS[makes[0]]:
        of_metric: list[Row] = []
        for key in sides[0]:
            values = _shared([side.get(key, {}) for side in sides], metric)
            if len(values) < 2:
                continue
            about = {
                "slices_learnt": key[0],
                "label": key[1],
                "metric": metric,
                "subjects": len(values),
            }
            # By number: one that is compared with itself has its name twice.
            table = {str(n): list(column) for n, column in enumerate(zip(*values, strict=True))}
            tables.append((about, table))
            for result in wilcoxon_pairs(table):
                of_metric.append(
                    {
                        **about,
                        "first": names[int(result.first)],
                        "first_median": float(np.median(table[result.first])),
                        "second": names[int(result.second)],
                        "second_median": float(np.median(table[result.second])),
                        "statistic": result.statistic,
                        "p": result.p,
                    }
                )
        corrected = holm([row["p"] for row in of_metric])
        found += [{**row, "corrected_p": p} for row, p in zip(of_metric, corrected, strict=True)]
    if not found:
        quoted = [f"'{name}'" for name in names]
        raise ComparedError(
            f"{', '.join(quoted[:-1])} and {quoted[-1]} share fewer than two subjects, or no label "
            "and number of slices. Compare cross-validations of the same cohort."
        )
    return found, tables


def _by_subject(rows: Iterable[Row]) -> dict[tuple[Any, str], dict[str, list[Row]]]:
    found: dict[tuple[Any, str], dict[str, list[Row]]] = {}
    for row in rows:
        if row["method"] == NETWORK:
            of_label = found.setdefault((row["slices_learnt"], row["label"]), {})
            of_label.setdefault(row["subject"], []).append(row)
    return found


def _shared(sides: Sequence[Mapping[str, Sequence[Row]]], metric: str) -> list[list[float]]:
    """For each subject for which all have a finite value, these values."""
    values = []
    for subject in sorted(set.intersection(*(set(side) for side in sides))):
        means = [float(np.mean([row[metric] for row in side[subject]])) for side in sides]
        if all(map(math.isfinite, means)):
            values.append(means)
    return values


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


def _folds(folds: Sequence[Sequence[str]]) -> str:
    shown = "; ".join(_listed(sorted(fold)) for fold in folds[:8])
    return f"{len(folds)} ({shown}{'; ...' if len(folds) > 8 else ''})"
