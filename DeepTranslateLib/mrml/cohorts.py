"""Cohorts of nodes and their export to a run folder.

What is exported is complete: a training goes on from its folder without the scene it came from.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.cohort.case import slices_to_text
from DeepTranslateLib.cohort.files import COLUMNS
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.mrml.pairs import Pair, checkPairs, isLabelMap, isSegmentation, subjectOf
from DeepTranslateLib.mrml.segmentations import (
    labelledSlices,
    labelMapFromNode,
    labelMapFromSegmentation,
    segmentsOf,
)
from DeepTranslateLib.mrml.segmentlabels import matchSegments
from DeepTranslateLib.mrml.volumes import imageFromVolume
from DeepTranslateLib.recipe import Recipe

COHORT_NAME = "cohort.csv"

EventSink = Callable[[dict[str, Any]], None]


def targetImage(pair: Pair, recipe: Recipe) -> tuple[Image, list[Any]]:
    """Return what the model shall make of a pair's volume, and which segments overlap in it.

    Raises:
        CohortError: The target is no segmentation, label map or volume as the recipe needs it, or
            none of its segments is a label of the recipe.
        ImageError: A node has no voxels or cannot be brought to its place.
    """
    target = pair.targetNode
    if recipe.target.kind == "volume":
        if isSegmentation(target) or isLabelMap(target):
            raise CohortError(
                f"'{recipe.title or recipe.name}' makes volumes; {target.GetName()} holds labels. "
                "Choose a volume as the target, or another recipe."
            )
        return imageFromVolume(target), []
    if isLabelMap(target):
        return labelMapFromNode(target), []
    if not isSegmentation(target):
        raise CohortError(
            f"'{recipe.title or recipe.name}' learns labels; {target.GetName()} is a volume. "
            "Choose a segmentation or a label map as the target, or another recipe."
        )
    segments = segmentsOf(target)
    values = pair.values
    if values is None:
        values = matchSegments(segments, recipe.target.labels)
    if not values:
        names = ", ".join(segment.name for segment in segments) or "none"
        wanted = ", ".join(label.name for label in recipe.target.labels)
        raise CohortError(
            f"No segment of {target.GetName()} is a label of the recipe. Its segments: {names}. "
            f"The recipe's labels: {wanted}. Say which is which in the table of segments, or "
            "rename the segments."
        )
    return labelMapFromSegmentation(target, pair.volumeNode, values)


def foundSlices(pair: Pair, recipe: Recipe) -> tuple[int, ...]:
    """Return the slices of a pair that hold labels, along the recipe's plane.

    Raises:
        CohortError, ImageError: As `targetImage`.
    """
    return labelledSlices(targetImage(pair, recipe)[0], recipe.sampling.plane)


@dataclass(frozen=True)
class ExportedPair:
    """The files that a pair became.

    Args:
        image: Path of the image's file.
        target: Path of the target's; None where the pair has none.
        found: Slices with labels, as `foundSlices`; None where all slices count.
        overlaps: Which segments overlap.
        mask: Path of the mask's; None where the pair has none.
    """

    image: Path
    target: Path | None
    found: tuple[int, ...] | None
    overlaps: tuple[Any, ...]
    mask: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All that there are."""
        return tuple(path for path in (self.image, self.target, self.mask) if path is not None)


# Exports a pair into files whose paths begin with the given one.
Exporter = Callable[[Pair, Recipe, Path], ExportedPair]


def exportPair(pair: Pair, recipe: Recipe, stem: Path) -> ExportedPair:
    """Write a pair to `stem`.nrrd, `stem`_target.nrrd and `stem`_mask.nrrd, as far as there are.

    Raises:
        CohortError, ImageError: As `targetImage`; or its mask is empty.
        OSError: They cannot be written.
    """
    target: Image | None = None
    overlaps: list[Any] = []
    found = None
    if pair.targetNode is not None:
        target, overlaps = targetImage(pair, recipe)
        if recipe.target.kind == "labels":
            found = labelledSlices(target, recipe.sampling.plane)
    mask = None if pair.maskNode is None else maskImage(pair)
    # Compressing a CT takes longer than reading it; labels are compressed in no time.
    image = write_image(imageFromVolume(pair.volumeNode), _path(stem, ""), compressed=False)
    return ExportedPair(
        image,
        None if target is None else write_image(target, _path(stem, "_target")),
        found,
        tuple(overlaps),
        None if mask is None else write_image(mask, _path(stem, "_mask")),
    )


def maskImage(pair: Pair) -> Image:
    """Return which voxels of a pair's volume count: those that are not 0.

    Raises:
        CohortError: The mask is a segmentation without segments.
        ImageError: A node has no voxels or cannot be brought to its place.
    """
    mask = pair.maskNode
    if isLabelMap(mask):
        return labelMapFromNode(mask)
    if not isSegmentation(mask):
        return imageFromVolume(mask)
    values = {segment.id: 1 for segment in segmentsOf(mask)}
    if not values:
        raise CohortError(
            f"The mask {mask.GetName()} has no segment, so nothing would count. Mark what counts, "
            "or choose no mask."
        )
    return labelMapFromSegmentation(mask, pair.volumeNode, values)[0]


def _path(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}{ending}.nrrd")


def writeCohort(
    pairs: Iterable[Pair],
    recipe: Recipe,
    folder: str | Path,
    onEvent: EventSink | None = None,
    export: Exporter = exportPair,
) -> Path:
    """Export pairs of nodes to `folder/images` and `folder/cohort.csv`, in the patient's space.

    The application stays alive meanwhile.

    Args:
        pairs: At least one.
        recipe: Says which labels there are and in which plane slices are counted.
        folder: An existing folder.
        onEvent: Called with `{"event": "exporting", "done", "total", "subject"}` before each pair
            and `{"event": "warning", "subject", "message"}` where segments overlap.
        export: Writes a pair, or brings the files that were written before.

    Returns:
        The CSV; what is in it is what `read_cohort` reads.

    Raises:
        CohortError: Pairs are incomplete or hold nothing to learn; all of them are listed.
        OSError: The folder cannot be written to.
    """
    pairs = list(pairs)
    checkPairs(pairs, recipe)

    def emit(event: dict[str, Any]) -> None:
        if onEvent is not None:
            onEvent(event)
        slicer.app.processEvents()

    folder = Path(folder)
    (folder / "images").mkdir(exist_ok=True)
    rows, problems = [], []
    for number, pair in enumerate(pairs, start=1):
        subject = pair.subject.strip() or subjectOf(pair.volumeNode)
        emit({"event": "exporting", "done": number - 1, "total": len(pairs), "subject": subject})
        stem = f"{number:03d}_{re.sub(r'[^A-Za-z0-9-]+', '_', subject)[:40]}"
        try:
            _refuseRemoved(pair)
            exported = export(pair, recipe, folder / "images" / stem)
            slices = _slicesOf(pair, exported.found)
        except (CohortError, ImageError) as error:
            problems.append(f"{subject}: {error}")
            continue
        for overlap in exported.overlaps:
            emit({"event": "warning", "subject": subject, "message": overlapText(overlap)})
        rows.append(
            {
                "subject": subject,
                "image": exported.image.relative_to(folder).as_posix(),
                "labels": _relative(exported.target, folder),
                "slices": slices_to_text(slices) if slices is not None else "",
                "split": pair.split or "",
                "mask": _relative(exported.mask, folder),
                "domain": pair.domain or "",
            }
        )
    if problems:
        raise CohortError("\n".join(problems))
    emit({"event": "exporting", "done": len(pairs), "total": len(pairs), "subject": ""})
    path = folder / COHORT_NAME
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        further = [name for name in ("mask", "domain") if any(row[name] for row in rows)]
        columns = (*COLUMNS, *further)
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def overlapText(overlap: Any) -> str:
    """Say in a sentence which segments overlap and which of them counts."""
    return (
        f"The segments {overlap.first} and {overlap.second} overlap in {overlap.voxels} voxels; "
        f"{overlap.second} counts there."
    )


def _relative(path: Path | None, folder: Path) -> str:
    return "" if path is None else path.relative_to(folder).as_posix()


def _slicesOf(pair: Pair, found: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if pair.slices is not None:
        if not pair.slices:
            raise CohortError("The list of labelled slices is empty.")
        return pair.slices
    if found is not None and not found:
        raise CohortError(
            f"{pair.targetNode.GetName()} marks no voxel of {pair.volumeNode.GetName()}. Check "
            "that the two belong together and that segments are assigned to labels."
        )
    return found


def _refuseRemoved(pair: Pair) -> None:
    for node in (pair.volumeNode, pair.targetNode, pair.maskNode):
        if node is not None and node.GetScene() is None:
            raise CohortError(
                f"{node.GetName()} was removed from the scene. Load it again, or remove its row."
            )
