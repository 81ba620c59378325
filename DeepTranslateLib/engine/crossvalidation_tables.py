"""Tables of a cross-validation: each case, each fold, and all together as median (range)."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.engine.comparison import median_range
from DeepTranslateLib.engine.jsonnumbers import json_numbers
from DeepTranslateLib.engine.metrics.images import TOLERANCE_MM
from DeepTranslateLib.recipe import Recipe

RESULTS_FILE, SUMMARY_FILE = "cross_validation.json", "summary.md"
# Key, heading and decimals of the metrics in the tables that people read.
METRICS = {
    "labels": (
        ("dice", "Dice", 3),
        ("sensitivity", "sensitivity", 3),
        ("specificity", "specificity", 3),
        ("fractional_area_difference", "area difference", 3),
        ("hausdorff95_mm", "HD95 (mm)", 1),
        ("average_surface_distance_mm", "ASSD (mm)", 2),
        ("surface_dice", f"surface Dice ({TOLERANCE_MM:g} mm)", 3),
    ),
    "volume": (
        ("mae", "MAE", 4),
        ("mse", "MSE", 5),
        ("rmse", "RMSE", 4),
        ("psnr", "PSNR (dB)", 2),
        ("ssim", "SSIM", 4),
        ("ms_ssim", "MS-SSIM", 4),
    ),
}
_RUN = ("slices_learnt", "seed", "fold")
_WHAT = ("slices_learnt", "method", "label")

Row = dict[str, Any]


def case_rows(rows: Sequence[Mapping[str, Any]], kind: str) -> list[Row]:
    """The rows of `cross_validate` with numbers for what JSON has none (null: NaN)."""
    names = [name for name, _, _ in METRICS[kind]]
    return [{**row, **{name: _number(row[name]) for name in names}} for row in rows]


def fold_rows(rows: Sequence[Row], kind: str) -> list[Row]:
    """A row for each run, method and label: `cases`, and of each metric median, least, largest."""
    return _grouped(rows, ("slices_learnt", "seed", "fold", "method", "label"), kind)


def summary_rows(rows: Sequence[Row], kind: str) -> list[Row]:
    """A row for each number of slices, method and label, over the cases of all folds and seeds."""
    found = _grouped(rows, _WHAT, kind)
    # The baseline of a label belongs beside its network.
    places = {name: list(dict.fromkeys(row[name] for row in found)) for name in _WHAT}
    order = ("slices_learnt", "label", "method")
    return sorted(found, key=lambda row: [places[name].index(row[name]) for name in order])


def write_tables(
    folder: Path,
    recipe: Recipe,
    rows: Sequence[Mapping[str, Any]],
    compared: Sequence[Row] = (),
    overall: Sequence[Row] = (),
) -> dict[str, Any]:
    """Write `cases.csv`, `folds.csv`, `summary.csv`, `cross_validation.json` and `summary.md`.

    Args:
        folder: Of the cross-validation.
        recipe: That was trained.
        rows: Of `cross_validate`.
        compared: Pairs, of `crossvalidation_comparison`.
        overall: Of `compare_several` there, where three or more are compared.

    Returns:
        What `cross_validation.json` holds.
    """
    kind = recipe.target.kind
    cases = case_rows(rows, kind)
    folds, summary = fold_rows(cases, kind), summary_rows(cases, kind)
    for name, table in (("cases", cases), ("folds", folds), ("summary", summary)):
        _write_csv(folder / f"{name}.csv", table)
    content = {
        "recipe": recipe.name,
        "kind": kind,
        "units": recipe.target.units,
        "summary": summary,
        "folds": folds,
        "cases": cases,
        "comparison": list(compared),
    }
    if overall:
        content["overall_comparison"] = list(overall)
    _write(folder / RESULTS_FILE, json.dumps(json_numbers(content), indent=1, allow_nan=False))
    _write(folder / SUMMARY_FILE, _markdown(recipe, cases, summary, compared, overall))
    return content


def summary_cells(summary: Sequence[Row], kind: str) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the summary, median (lowest to highest)."""
    metrics = METRICS[kind]
    several = len({row["slices_learnt"] for row in summary}) > 1
    head = ["slices"] * several + ["label"] * (kind == "labels") + ["method", "cases"]
    cells = []
    for row in summary:
        first = [_slices(row["slices_learnt"])] * several + [row["label"]] * (kind == "labels")
        cells.append([*first, row["method"], str(row["cases"]), *_texts(row, metrics)])
    return head + [title for _, title, _ in metrics], cells


def pair_cells(compared: Sequence[Row], *, named: bool = False) -> list[list[str]]:
    """Cells of the rows of `crossvalidation_comparison.compare`; `named`: with both names."""
    return [
        [
            *_about(row),
            *([row["first"], row["second"]] if named else []),
            f"{row['first_median']:.4g}",
            f"{row['second_median']:.4g}",
            f"{row['p']:.3g}",
            f"{row['corrected_p']:.3g}",
        ]
        for row in compared
    ]


def overall_cells(overall: Sequence[Row]) -> list[list[str]]:
    """Cells of the tests of all at once: medians, then statistic (df), p and p after Holm of each.

    Args:
        overall: Of `crossvalidation_comparison.compare_several`.
    """
    return [
        [
            *_about(row),
            *(f"{median:.4g}" for median in row["medians"]),
            *(text for test in ("friedman", "anova") for text in _tested(row[test])),
        ]
        for row in overall
    ]


def _about(row: Row) -> list[str]:
    return [_slices(row["slices_learnt"]), row["label"], row["metric"], str(row["subjects"])]


def _tested(test: Row) -> list[str]:
    degrees = ", ".join(map(str, test["degrees"]))
    numbers = (f"{test[name]:.3g}" for name in ("p", "corrected_p"))
    return [f"{test['statistic']:.4g} ({degrees})", *numbers]


def _grouped(rows: Sequence[Row], keys: Sequence[str], kind: str) -> list[Row]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    result = []
    for values, group in groups.items():
        found: Row = {**dict(zip(keys, values, strict=True)), "cases": len(group)}
        for metric, _, _ in METRICS[kind]:
            known = [row[metric] for row in group if not math.isnan(row[metric])]
            found[metric] = float(np.median(known)) if known else math.nan
            found[f"{metric}_lowest"] = min(known, default=math.nan)
            found[f"{metric}_highest"] = max(known, default=math.nan)
        result.append(found)
    return result


def _texts(row: Row, metrics: Sequence[tuple[str, str, int]]) -> list[str]:
    texts = []
    for name, _, decimals in metrics:
        ends = [row[name], row[f"{name}_lowest"], row[f"{name}_highest"]]
        # Of three numbers whose median is the first, the text is that of all.
        texts.append(median_range(ends, decimals))
    return texts


def _markdown(
    recipe: Recipe,
    cases: Sequence[Row],
    summary: Sequence[Row],
    compared: Sequence[Row],
    overall: Sequence[Row],
) -> str:
    kind = recipe.target.kind
    metrics = METRICS[kind]
    seeds = len({row["seed"] for row in cases})
    folds = len({row["fold"] for row in cases})
    subjects = len({row["subject"] for row in cases})
    units = f" in {recipe.target.units}" if recipe.target.units else ""
    lines = [
        f"# {recipe.title or recipe.name}: cross-validation",
        "",
        f"{subjects} subjects in {folds} folds, {seeds} seed{'s' * (seeds > 1)}. Every subject is "
        "measured with models that never saw it, on its labelled slices at full resolution. "
        f"Median (lowest to highest) over the cases of all seeds{units}.",
        "",
        *_table(*summary_cells(summary, kind)),
        "",
        "## Cases",
        "",
    ]
    run = [key for key in _RUN if len({row[key] for row in cases}) > 1]
    head = [*run, "subject", "image", *["label"] * (kind == "labels"), "method"]
    cells = [
        [
            *(_slices(row[key]) for key in head),
            *(median_range([row[name]], decimals).split(" ")[0] for name, _, decimals in metrics),
        ]
        for row in cases
    ]
    lines += _table([*head, *(title for _, title, _ in metrics)], cells)
    if compared:
        lines += ["", "## Comparison", "", *_comparison(compared, overall)]
    return "\n".join(lines) + "\n"


def _comparison(compared: Sequence[Row], overall: Sequence[Row]) -> list[str]:
    least = 2.0 ** (1 - max(row["subjects"] for row in compared))
    if not overall:
        first, second = compared[0]["first"], compared[0]["second"]
        head = ["slices", "label", "metric", "subjects", first, second, "p", "p after Holm"]
        return [
            *_table(head, pair_cells(compared)),
            "",
            f"Medians over subjects; Wilcoxon's signed-rank test, two-sided, whose p is at least "
            f"{least:.3g} with so many subjects; Holm's correction for the rows of each metric.",
        ]
    after = ["p", "p after Holm"]
    head = ["slices", "label", "metric", "subjects"]
    medians = [*overall[0]["compared"], "Friedman's chi2 (df)", *after, "ANOVA's F (df)", *after]
    pairs = ["first", "second", "median of first", "median of second", *after]
    return [
        *_table([*head, *medians], overall_cells(overall)),
        "",
        "Medians over the subjects for which all have a finite value. Are all alike? Friedman's "
        "test, by ranks, whose p is rough with fewer than about ten subjects; analysis of variance "
        "with repeated measures, which supposes normal residuals and sphericity. Holm's correction "
        "for the rows of each metric, of either test by itself.",
        "",
        *_table([*head, *pairs], pair_cells(compared, named=True)),
        "",
        "The same subjects in pairs: Wilcoxon's signed-rank test, two-sided, whose p is at least "
        f"{least:.3g} with so many subjects; Holm's correction for the rows of each metric, which "
        "are all its pairs.",
    ]


def _table(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *cells]
    return ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows]


def _slices(value: Any) -> str:
    return "all" if value is None else str(value)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in names])


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
