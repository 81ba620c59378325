"""Table of `limbs_adversarial`: beside the supervised recipe and regressions of `mr_to_ct`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from DeepTranslateLib.engine.heldout import NETWORK
from Testing.benchmarks.denoising_common import cell
from Testing.benchmarks.leave_one_out import FULL
from Testing.benchmarks.mr_to_ct import STUDY
from Testing.benchmarks.records import Record, matching, table_row

SUPERVISED = "supervised, `mr-to-ct`"
REGRESSED, MATCHED = "intensity, median", "histogram matching"
BASELINES = (SUPERVISED, REGRESSED, MATCHED)


def table(
    records: Sequence[Record], studied: Sequence[Record], methods: Sequence[str]
) -> list[str]:
    """Medians (lowest to highest) over the patients that any method was measured on.

    Of a method those of the recipe alone that was measured last. Shares are of the same patients,
    their median.

    Args:
        records: Of `limbs_adversarial`.
        studied: Of `mr_to_ct`; those of its recipe as it is now count.
        methods: In the order of their rows.
    """
    rows = {name: _latest(matching(records, method=name)) for name in (MATCHED, *methods)}
    wanted = {record["fold"] for name in methods for record in rows[name]}
    beside = [
        {**row, "fold": record["fold"], "epochs": record["epochs"]}
        for record in matching(studied, recipe=STUDY.digest, variant=FULL)
        for row in record["rows"]
    ]
    rows = {
        SUPERVISED: matching(beside, method=NETWORK),
        REGRESSED: matching(beside, method=REGRESSED),
        **rows,
    }
    head = ("method", "patients", "seeds", "MAE (HU)", "PSNR (dB)", "SSIM")
    shares = [f"MAE / {name}" for name in BASELINES]
    lines = [table_row((*head, *shares, "CPU s")), table_row(["---"] * 10)]
    for name, found in rows.items():
        found = [record for record in found if record["fold"] in wanted]
        if not found:
            continue
        counts = [len({r.get(key, 0) for r in found}) for key in ("fold", "seed")]
        values = [
            cell([record[metric] for record in found], decimals)
            for metric, decimals in (("mae", 1), ("psnr", 1), ("ssim", 3))
        ]
        seconds = [r["cpu_seconds"] for r in found if "cpu_seconds" in r]
        parts = ["" if name == base else _share(found, rows[base]) for base in BASELINES]
        last = round(median(seconds)) if seconds else ""
        lines.append(table_row((name, *counts, *values, *parts, last)))
    return lines


def _latest(records: Sequence[Record]) -> list[Record]:
    """Those of the recipe that was measured last, one a fold and seed."""
    same = [record for record in records if record.get("recipe") == records[-1].get("recipe")]
    return list({(record["fold"], record.get("seed")): record for record in same}.values())


def _share(found: Iterable[Record], base: Iterable[Record]) -> str:
    """The median of a method's errors as parts of another's on the same patients."""
    theirs: dict[int, list[float]] = {}
    for record in base:
        theirs.setdefault(record["fold"], []).append(record["mae"])
    parts = [r["mae"] / median(theirs[r["fold"]]) for r in found if r["fold"] in theirs]
    return f"{median(parts):.2f}" if parts else ""
