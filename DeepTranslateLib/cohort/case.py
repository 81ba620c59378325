"""Case: one image and what a model shall make of it."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import image_name, read_image

PARTS = ("training", "validation", "test")
SOURCE, TARGET = DOMAINS = ("source", "target")
# More slices than any scanner makes; keeps a mistyped range from filling the memory.
_MAXIMUM_SLICES = 100_000
_NORMALS = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}


class CohortError(ValueError):
    """A cohort cannot be read or used: what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Case:
    """An image with its target, of one subject.

    Args:
        subject: Who it is; cases of one subject are never on both sides of a split.
        image: File, DICOM folder, or an image in memory.
        target: Label map, or the volume that a volume recipe learns; None where there is none.
        slices: Indices of the labelled slices along the stored axis that the recipe's plane
            stacks on, from 0; for an axial volume k, as in `voxels[k]`. None: all are labelled.
        split: "training", "validation", "test", or None to leave it to `split_cohort`.
        mask: Volume on the image's grid; only voxels where it is not 0 teach and are measured.
            None: all do.
        domain: For learning without pairs: "source" for what a recipe's `inputs` describe,
            "target" for what its `target` describes. None: the case is a pair. A case with a
            domain may name a target, too, in the other domain: it never teaches, and is the truth
            that held-out cases are measured by.

    Raises:
        CohortError: A subject without a name, an unknown split or domain, or an empty list of
            slices.
    """

    subject: str
    image: Path | Image
    target: Path | Image | None
    slices: tuple[int, ...] | None = None
    split: str | None = None
    mask: Path | Image | None = None
    domain: str | None = None

    def __post_init__(self) -> None:
        """Validate, and make paths and slices what the annotations say."""
        if not isinstance(self.subject, str) or not self.subject.strip():
            raise CohortError(f"A case needs the name of its subject, found {self.subject!r}.")
        if self.split is not None and self.split not in PARTS:
            raise CohortError(
                f"The split of subject {self.subject} is {self.split!r}; possible are "
                f"{', '.join(PARTS)}, or nothing."
            )
        if self.domain is not None and self.domain not in DOMAINS:
            raise CohortError(
                f"The domain of subject {self.subject} is {self.domain!r}; possible are "
                f"{' and '.join(DOMAINS)}, or nothing where image and target are a pair."
            )
        for field in ("image", "target", "mask"):
            if isinstance(getattr(self, field), str):
                object.__setattr__(self, field, Path(getattr(self, field)))
        if self.slices is not None:
            try:
                slices = tuple(operator.index(index) for index in self.slices)
            except TypeError:
                raise CohortError(
                    f"The slices of subject {self.subject} must be whole numbers, found "
                    f"{self.slices!r}."
                ) from None
            object.__setattr__(self, "slices", slices)
            if not self.slices:
                raise CohortError(
                    f"The list of slices of subject {self.subject} is empty. Name the labelled "
                    "slices, or leave the list out where all are labelled."
                )

    @property
    def name(self) -> str:
        """Name of the image's file without its suffix; the subject for an image in memory."""
        return self.subject if isinstance(self.image, Image) else image_name(self.image)

    def read_image(self) -> Image:
        """Return the image.

        Raises:
            ImageError: It cannot be read.
            OSError: It may not be opened.
        """
        return self.image if isinstance(self.image, Image) else read_image(self.image)

    def read_target(self) -> Image:
        """Return the label map or target volume.

        Raises:
            CohortError: The case has none.
            ImageError: It cannot be read.
            OSError: It may not be opened.
        """
        if self.target is None:
            raise CohortError(
                f"Subject {self.subject} has no labels or target volume. Add them to the cohort, "
                "or leave the case out."
            )
        return self.target if isinstance(self.target, Image) else read_image(self.target)

    def read_mask(self) -> Image | None:
        """Return the mask; None where all voxels count.

        Raises:
            ImageError: It cannot be read.
            OSError: It may not be opened.
        """
        if self.mask is None or isinstance(self.mask, Image):
            return self.mask
        return read_image(self.mask)

    def counted(self, orientation: str) -> npt.NDArray[np.bool_] | None:
        """Which voxels teach and are measured, as an image of some orientation stores them.

        Args:
            orientation: Three letters such as "LPS", as of `Image.oriented`.

        Returns:
            Of the image's shape in that orientation; None where all voxels count.

        Raises:
            ImageError: The mask cannot be read.
            OSError: It may not be opened.
        """
        mask = self.read_mask()
        return None if mask is None else np.asarray(mask.oriented(orientation).voxels != 0)

    def counted_slices(self, plane: str) -> tuple[int, ...] | None:
        """The labelled slices of which the mask leaves something, in order, each once; None: all.

        Args:
            plane: Along which slices are counted: "axial", "coronal" or "sagittal".

        Raises:
            ImageError: There is a mask, and it or the image cannot be read.
            OSError: It may not be opened.
        """
        chosen = None if self.slices is None else sorted(set(self.slices))
        if self.mask is None:
            return None if chosen is None else tuple(chosen)
        # The mask may be stored in another order than the image, whose slices are counted.
        image = self.read_image()
        counted = self.counted(image.orientation)
        assert counted is not None
        stack = np.moveaxis(counted, stack_axis(image, plane), 0)
        if chosen is None:
            chosen = list(range(len(stack)))
        # What lies outside of the volume is for the check of the cohort to say.
        return tuple(i for i in chosen if not 0 <= i < len(stack) or stack[i].any())


def stack_axis(image: Image, plane: str) -> int:
    """Return the axis of `image.voxels` (K, J, I) along which slices of a plane are stacked.

    Args:
        image: An image, stored in any orientation.
        plane: "axial", "coronal" or "sagittal".
    """
    letters = _NORMALS[plane]
    along = next(axis for axis, letter in enumerate(image.orientation) if letter in letters)
    return 2 - along


def labelled_slices(case: Case, plane: str) -> tuple[int, ...]:
    """The slices of a case that count, in order, each once; opens the image where all do.

    Raises:
        ImageError: The image must be read and cannot be.
    """
    chosen = case.counted_slices(plane)
    if chosen is not None:
        return chosen
    image = case.read_image()
    return tuple(range(image.shape[stack_axis(image, plane)]))


def slices_from_text(text: str) -> tuple[int, ...]:
    """Return the slices that a text such as "3;9;17-20" lists.

    Raises:
        CohortError: It is no such list.
    """
    slices: list[int] = []
    for piece in re.split(r"[;,\s]+", re.sub(r"\s*[-–]\s*", "-", text.strip(";, \t\n"))):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", piece, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < _MAXIMUM_SLICES:
            raise CohortError(
                f"'{piece or text}' is no slice or range of slices. Give indices from 0, such as "
                "3;9;17 or 3-9 (in a spreadsheet, format the column as text)."
            )
        slices.extend(range(first, last + 1))
    return tuple(slices)


def slices_to_text(slices: Iterable[int]) -> str:
    """Return slices as `slices_from_text` reads them, in order, neighbours as a range.

    Example:
        >>> slices_to_text([3, 9, 10, 11, 17])
        '3;9-11;17'
    """
    ranges: list[list[int]] = []
    for index in sorted(set(slices)):
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ";".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
