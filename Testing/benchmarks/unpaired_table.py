"""Table of `unpaired`: medians over seeds, and whether they say what they should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from Testing.benchmarks.denoising_common import cell
from Testing.benchmarks.records import Record, matching, once_a_seed, table_row
from Testing.benchmarks.unpaired_recipes import LONG, METHODS, PAIRS

UNTRANSLATED, MATCHED, MATCHED_BODY = "untranslated", "histogram matching", "the same, body alone"
TRUTH = "truth"
BASELINES = (UNTRANSLATED, MATCHED, MATCHED_BODY, TRUTH)
# Name, how the table calls it, what it is multiplied by, decimals.
METRICS = (
    ("mae", "MAE", 1, 1),
    ("ssim", "SSIM", 1, 3),
    ("kid", "KID x 1000", 1000, 2),
    ("dig", "DIG", 1, 3),
    ("self_ssim", "NSelfSSIM", 1, 3),
)
UNPAIRED = ("cyclegan", "unit", "cut")
# Structure-preserving variants of the first, and what each is held against.
HELD = {
    "cyclegan, gradient": "cyclegan",
    "cyclegan, structure": "cyclegan",
    "cyclegan, shape": "cyclegan",
    "cyclegan, Ozaki": "cyclegan",
    "cyclegan, gradient" + LONG: "cyclegan" + LONG,
}

Groups = Mapping[tuple[str, str | None], Sequence[Record]]


def table(records: Sequence[Record]) -> list[str]:
    """For each pair of contrasts medians and ranges over seeds, and what they say."""
    lines = []
    for pair in ("-".join(each) for each in PAIRS):
        groups = groups_of(matching(records, pair=pair))
        if not groups:
            continue
        unit = "HU" if pair.endswith("ct") else "T2, 0 to 650"
        head = ["method", "seeds", f"MAE ({unit})", *(title for _, title, *_ in METRICS[1:])]
        lines += ["", f"### {pair.replace('-', ' to ')}", "", table_row(head)]
        lines.append("|---" * len(head) + "|")
        for (method, _), found in groups.items():
            values = [
                cell([factor * record[name] for record in found], decimals)
                for name, _, factor, decimals in METRICS
            ]
            lines.append(table_row([method, len(found), *values]))
        lines += ["", *verdicts(groups)]
    extractors = sorted({record["kid_extractor"] for record in records})
    return [*lines, "", f"KID by {', '.join(extractors)}."] if extractors else lines


def groups_of(records: Iterable[Record]) -> dict[tuple[str, str | None], list[Record]]:
    """Records by method and recipe, one a seed: baselines, METHODS in their order, then others.

    Of a method that is one of METHODS those of the recipe alone that was measured last.
    """
    found: dict[tuple[str, str | None], list[Record]] = {}
    last: dict[str, str | None] = {}
    for record in records:
        found.setdefault((record["method"], record["recipe"]), []).append(record)
        last[record["method"]] = record["recipe"]
    order = [*BASELINES, *METHODS, *(name for name in last if name not in {*BASELINES, *METHODS})]
    return {
        (method, recipe): once_a_seed(found[method, recipe])
        for method in order
        for recipe in dict.fromkeys(key[1] for key in found if key[0] == method)
        if method not in METHODS or recipe == last[method]
    }


def verdicts(groups: Groups) -> list[str]:
    """What the medians say about what should be; of methods that were measured."""
    middle = {
        method: {name: median(record[name] for record in found) for name, *_ in METRICS}
        for (method, _), found in groups.items()
    }
    lines = []
    simple = [middle[name] for name in BASELINES[:3] if name in middle]
    for method in (name for name in UNPAIRED if name in middle and simple):
        mine = middle[method]
        better = all(mine["mae"] < each["mae"] and mine["ssim"] > each["ssim"] for each in simple)
        lines.append(f"- {method}: lower MAE, higher SSIM than without a network: {_say(better)}")
    for method, free in HELD.items():
        if not {method, free} <= middle.keys():
            continue
        plain, held = middle[free], middle[method]
        better = held["dig"] < plain["dig"] and held["kid"] <= plain["kid"]
        lines.append(f"- {method}: lower DIG at no higher KID than {free}: {_say(better)}")
    if {"L1", "pix2pix"} <= middle.keys():
        plain, judged = middle["L1"], middle["pix2pix"]
        better = judged["kid"] < plain["kid"] and judged["mae"] <= 1.1 * plain["mae"]
        lines.append(f"- pix2pix: lower KID than L1 at no more than 1.1 of its MAE: {_say(better)}")
    return lines


def _say(kept: bool) -> str:
    return "yes" if kept else "**no**"
