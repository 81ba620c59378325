"""The command `prepare`: images of a cohort on each other, without tables, at one spacing."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import BAD_INPUT, DONE, PARTLY, CommandError, explain
from DeepTranslateLib.cli.register import KINDS, add_iterations

if TYPE_CHECKING:
    from DeepTranslateLib.cohort import Case
    from DeepTranslateLib.engine.preparation import Steps
    from DeepTranslateLib.engine.prepared_folder import PreparedFolder

_DESCRIPTION = """Prepare each case of a cohort and write a new one, DIR/cohort.csv, with
DIR/report.csv beside it, which says how well images agreed before and after registration. The
sources are left as they are. In a cohort with domains a table is removed from CT alone.

Without --reference a target volume is registered to its image; with it the images are registered
to the reference, and their targets and masks moved along. A registration after which images agree
less than before is not kept, and reported. What the target does not reach is 0 in the case's mask.

Given again, the command goes on where it ended. See docs/preparation.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = _DESCRIPTION
    parser.add_argument("--cohort", type=Path, required=True, metavar="FOLDER_OR_CSV")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--register", choices=KINDS, help="needs itk-elastix")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="to register images to")
    parser.add_argument(
        "--remove-table", action="store_true", help="in CT: all but the patient becomes air"
    )
    parser.add_argument(
        "--spacing",
        type=_spacing,
        metavar="MM|X,Y,Z",
        help="from right to left, front to back, foot to head",
    )
    parser.add_argument(
        "--targets",
        choices=("labels", "volume"),
        help="what the cohort's targets are; default: what they look like",
    )
    add_iterations(parser)


def prepare_cohort(options: argparse.Namespace, console: Console) -> int:
    """Prepare what is not done yet, write the cohort and the report, show it."""
    from DeepTranslateLib.cohort import read_cohort
    from DeepTranslateLib.engine.prepared_folder import PreparedFolder

    cohort = read_cohort(options.cohort)
    steps = _steps(options)
    folder = PreparedFolder(options.output, cohort.cases, _choices(options, steps))
    records, failures = [], []
    with console.progress("Cases", len(cohort.cases)):
        for number, case in enumerate(cohort.cases, start=1):
            console.event({"event": "preparing", "case": folder.name(case), "number": number})
            try:
                record = folder.done(case) or _prepared(case, folder, steps, options.targets)
            except Exception as error:
                message, code = explain(error)
                failures.append({"case": folder.name(case), "message": message})
                console.error(f"{folder.name(case)}: {message}", code)
                continue
            records.append(record)
            for note in record["notes"]:
                console.warn(f"{folder.name(case)}: {note}")
            console.event({"event": "prepared", **record})
            console.advance_to(number)
    if not records:
        return BAD_INPUT
    written, report = folder.finish(records)
    _show(console, records)
    console.say(f"\nCohort: {written}\nReport: {report}")
    if failures:
        console.warn(f"{len(failures)} of {len(cohort.cases)} cases are not in the new cohort.")
    console.result(
        {
            "cohort": str(written),
            "report": str(report),
            "cases": records,
            "failures": failures,
        }
    )
    return PARTLY if failures else DONE


def _steps(options: argparse.Namespace) -> Steps:
    from DeepTranslateLib.engine.preparation import Steps
    from DeepTranslateLib.engine.registration import ITERATIONS
    from DeepTranslateLib.image.files import read_image

    if not (options.register or options.remove_table or options.spacing):
        raise CommandError(
            "There is nothing to do. Give --register, --remove-table or --spacing, or several."
        )
    for name in ("reference", "iterations"):
        if getattr(options, name) is not None and options.register is None:
            raise CommandError(f"--{name} is for a registration. Give --register, too.")
    reference = None
    if options.reference is not None:
        with native_silence():
            reference = read_image(options.reference)
    return Steps(
        options.register,
        reference,
        options.remove_table,
        options.spacing,
        options.iterations or ITERATIONS,
    )


def _choices(options: argparse.Namespace, steps: Steps) -> dict[str, Any]:
    """The options as they are kept, so that a folder is gone on with by the same ones."""
    from DeepTranslateLib.engine.prepared_folder import fingerprint

    return {
        "register": steps.register,
        "reference": fingerprint(options.reference),
        "remove-table": steps.remove_table,
        "spacing": None if steps.spacing is None else list(steps.spacing),
        "targets": options.targets,
        "iterations": steps.iterations,
    }


def _prepared(
    case: Case, folder: PreparedFolder, steps: Steps, targets: str | None
) -> dict[str, Any]:
    from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
    from DeepTranslateLib.engine.preparation import is_label_map, prepare_case

    if case.slices is not None and (steps.spacing is not None or steps.reference is not None):
        raise CommandError(
            "The cohort names labelled slices, which another grid does not have. Prepare it "
            "without --spacing and --reference, or label all slices."
        )
    with native_silence():
        image, mask = case.read_image(), case.read_mask()
        target = None if case.target is None else case.read_target()
    if targets is not None or target is None:
        labels = targets == "labels"
    else:
        labels = is_label_map(target)
    if steps.remove_table and case.domain is not None:
        # Of two domains mostly one is CT.
        volumes = [image] if target is None or labels else [image, target]
        has_table = any(why_not_hounsfield(volume.voxels) is None for volume in volumes)
        steps = dataclasses.replace(steps, remove_table=has_table)
    return folder.write(case, prepare_case(image, target, mask, steps, labels), labels)


def _show(console: Console, records: list[dict[str, Any]]) -> None:
    rows = []
    for record in records:
        before, after = record["before"], record["after"]
        numbers = [
            f"{found[name]:.3f}" if found else "-"
            for name in ("information", "overlap")
            for found in (before, after)
        ]
        state = {None: "-", True: "yes", False: "not kept"}[record["registered"]]
        rows.append([record["case"], state, *numbers])
    columns = [">information", ">after", ">overlap", ">after"]
    console.table(["case", "registered", *columns], rows)


def _spacing(text: str) -> tuple[float, float, float]:
    try:
        values = [float(piece) for piece in text.split(",")]
    except ValueError:
        values = []
    values = values * 3 if len(values) == 1 else values
    if len(values) != 3 or not all(0 < value < math.inf for value in values):
        raise argparse.ArgumentTypeError(
            f"expected millimetres, one number or three with commas between, found '{text}'"
        )
    return (values[0], values[1], values[2])
