"""CohortCache: exported pairs of nodes, so that what did not change is not exported again."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from DeepTranslateLib.mrml.cohorts import ExportedPair, exportPair
from DeepTranslateLib.mrml.jobs import newJobFolder, removeJobFolder
from DeepTranslateLib.mrml.pairs import Pair, isSegmentation
from DeepTranslateLib.recipe import Recipe


class CohortCache:
    """Keeps the files of each pair while its nodes, labels and plane stay as they are.

    Each pair is kept once, in a temporary folder that only this user can read.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._number = 0
        self._kept: dict[tuple[str, ...], tuple[Any, ExportedPair]] = {}

    def export(self, pair: Pair, recipe: Recipe, stem: Path) -> ExportedPair:
        """Do what `exportPair` does; files that are kept are linked, or else copied.

        Raises:
            CohortError, ImageError, OSError: As `exportPair`.
        """
        key = tuple(node.GetID() for node in _nodesOf(pair))
        state = stateOf(pair, recipe)
        known, kept = self._kept.get(key, (None, None))
        if kept is None or known != state or not all(path.exists() for path in kept.files):
            self._drop(key)
            kept = exportPair(pair, recipe, self._newStem())
            self._kept[key] = (state, kept)

        def given(path: Path | None) -> Path | None:
            ending = "" if path is None else path.name.removeprefix(kept.image.stem)
            return None if path is None else _link(path, stem.with_name(stem.name + ending))

        image = given(kept.image)
        assert image is not None
        return replace(kept, image=image, target=given(kept.target), mask=given(kept.mask))

    def clear(self) -> None:
        """Forget everything; files that were given out stay."""
        self._kept = {}
        if self._folder is not None:
            removeJobFolder(self._folder)
        self._folder = None

    def _newStem(self) -> Path:
        if self._folder is None or not self._folder.is_dir():
            self._folder = newJobFolder("cohort")
        self._number += 1
        return self._folder / str(self._number)

    def _drop(self, key: tuple[str, ...]) -> None:
        _state, kept = self._kept.pop(key, (None, None))
        if kept is not None:
            for path in kept.files:
                path.unlink(missing_ok=True)


def stateOf(pair: Pair, recipe: Recipe) -> tuple[Any, ...]:
    """Return all that a pair's exported images depend on; equal while they would be the same."""
    values = None if pair.values is None else tuple(pair.values.items())
    return (
        *(_nodeState(node) for node in _nodesOf(pair)),
        pair.targetNode is None,
        values,
        recipe.target,
        recipe.sampling.plane,
    )


def _nodesOf(pair: Pair) -> list[Any]:
    return [n for n in (pair.volumeNode, pair.targetNode, pair.maskNode) if n is not None]


def _nodeState(node: Any) -> tuple[Any, ...]:
    state: list[Any] = [node.GetID(), node.GetMTime()]
    if isSegmentation(node):
        segmentation = node.GetSegmentation()
        state.append(segmentation.GetMTime())
        source = segmentation.GetSourceRepresentationName()
        for number in range(segmentation.GetNumberOfSegments()):
            segment = segmentation.GetNthSegment(number)
            voxels = segment.GetRepresentation(source)
            state.append((segment.GetMTime(), voxels.GetMTime() if voxels else 0))
    elif node.GetImageData() is not None:
        scalars = node.GetImageData().GetPointData().GetScalars()
        state.append((node.GetImageData().GetMTime(), scalars.GetMTime() if scalars else 0))
    transform = node.GetParentTransformNode()
    while transform is not None:
        state.append((transform.GetID(), transform.GetMTime(), _motionState(transform)))
        transform = transform.GetParentTransformNode()
    return tuple(state)


def _motionState(transform: Any) -> int:
    """Modification time of what a transform node does; grids change without their node."""
    motion = transform.GetTransformToParent()
    return int(motion.GetMTime()) if motion is not None else 0


def _link(source: Path, target: Path) -> Path:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
    return target
