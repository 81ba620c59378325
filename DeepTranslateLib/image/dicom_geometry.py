"""Where the slices of a DICOM series lie: read from headers, checked and put in order.

Whatever would make a volume that is not the patient (a tilted gantry, missing slices, several
volumes in one series) is refused with its reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image.affine import SHEAR_TOLERANCE, ImageError, affine_from_lps
from DeepTranslateLib.image.reading import sentence

# Positions and orientations are decimal text, so they are never exact.
_SAME_POSITION_MM = 1e-3
_ROUNDING_MM = 0.06
_SAME_COSINE = 1e-4
NO_IMAGES = {
    "SEG": "a segmentation; load it in 3D Slicer and export it as a label map",
    "RTSTRUCT": "contours; load them in 3D Slicer and export them as a label map",
    "RTDOSE": "a dose distribution; load it in 3D Slicer and export it as NRRD",
}


@dataclass(frozen=True)
class Frame:
    """One slice: where it is stored, where it lies (LPS, mm) and what its numbers mean."""

    path: Path
    index: int
    rows_columns: tuple[int, int]
    position: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float


def number(value: Any, kind: type) -> Any:
    """Return a header's value as a number, None where it is absent or none."""
    try:
        return kind(value)
    except (TypeError, ValueError):
        return None


def number_of_frames(header: Any) -> int:
    """Return how many images a file holds; 0 for objects that are no images."""
    if "Rows" not in header or str(header.get("Modality")) in NO_IMAGES:
        return 0
    return max(1, number(header.get("NumberOfFrames"), int) or 1)


def frames_of(path: Path, header: Any) -> list[Frame]:
    """Return the slices of one file, their geometry from functional groups if it has these."""
    _check_kind(path, header)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    count = number_of_frames(header)
    if groups is None and count > 1:
        raise ImageError(
            f"{path} holds {count} frames without a position for each (no per-frame functional "
            "groups), so they cannot be stacked. Export the series as single slices or as NIfTI."
        )
    if groups is not None and len(groups) != count:
        raise ImageError(
            f"{path} says it holds {count} frames but describes {len(groups)}. Export it again."
        )
    frames = []
    for index, group in enumerate(groups if groups is not None else [{}]):

        def item(sequence: str, keyword: str, *, required: bool = False, group: Any = group) -> Any:
            for source in (group, shared):
                if source.get(sequence) and source[sequence].value[0].get(keyword) is not None:
                    return source[sequence].value[0].get(keyword)
            value = header.get(keyword)
            if value is None and required:
                raise ImageError(
                    f"{path} does not say where its pixels lie ({keyword} is missing), so it "
                    "cannot be placed in the patient. Export the series again with full headers."
                )
            return value

        position = item("PlanePositionSequence", "ImagePositionPatient", required=True)
        orientation = item("PlaneOrientationSequence", "ImageOrientationPatient", required=True)
        pixel_spacing = item("PixelMeasuresSequence", "PixelSpacing", required=True)
        thickness = item("PixelMeasuresSequence", "SpacingBetweenSlices") or item(
            "PixelMeasuresSequence", "SliceThickness"
        )
        slope = item("PixelValueTransformationSequence", "RescaleSlope")
        intercept = item("PixelValueTransformationSequence", "RescaleIntercept")
        try:
            frames.append(
                Frame(
                    path=path,
                    index=index,
                    rows_columns=(int(header.Rows), int(header.Columns)),
                    position=np.array(position, float).reshape(3),
                    orientation=np.array(orientation, float).reshape(2, 3),
                    spacing=(float(pixel_spacing[0]), float(pixel_spacing[1])),
                    thickness=abs(float(thickness or 0)) or 1.0,
                    slope=1.0 if slope is None else float(slope),
                    intercept=float(intercept or 0),
                )
            )
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ImageError(
                f"{path} has a broken geometry in its header ({sentence(error)}). Export it again."
            ) from error
    return frames


def _check_kind(path: Path, header: Any) -> None:
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if (header.get("SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        raise ImageError(
            f"{path} is in colour ({photometric}); one grey value a pixel is needed. Give the "
            "original series, not a colour rendering of it."
        )
    if "MOSAIC" in (header.get("ImageType") or []):
        count = header.get((0x0019, 0x100A))
        number = f"{count.value} slices" if count is not None else "many slices"
        raise ImageError(
            f"{path} is a Siemens mosaic: one picture that tiles {number} of a volume, usually "
            "one time point of a 4D series. Convert it to NIfTI (dcm2niix) and give one volume."
        )
    if "ModalityLUTSequence" in header:
        raise ImageError(
            f"{path} maps its values through a modality look-up table instead of slope and "
            "intercept, which is not supported. Load it in 3D Slicer and export it as NRRD."
        )


def stacked(frames: list[Frame]) -> tuple[list[Frame], npt.NDArray[np.float64]]:
    """Return the slices in the order of their positions, and the affine; refuse what is uneven."""
    first = frames[0]
    where = first.path.parent
    for frame in frames[1:]:
        if frame.rows_columns != first.rows_columns or not np.allclose(
            frame.spacing, first.spacing, rtol=1e-3
        ):
            raise ImageError(
                f"The slices in {where} differ in size: {_plane(first)} and {_plane(frame)} "
                f"({frame.path.name}). Move those that do not belong to another folder."
            )
        if np.abs(frame.orientation - first.orientation).max() > _SAME_COSINE:
            raise ImageError(
                f"The slices in {where} are not parallel: {frame.path.name} is turned against "
                f"{first.path.name}, as in a scout or a series of several planes. Move those that "
                "do not belong to another folder."
            )
    row, column, normal = _axes(first)
    distances = np.array([normal @ frame.position for frame in frames])
    order = np.argsort(distances, kind="stable")
    frames = [frames[n] for n in order]
    distances = distances[order]
    _check_distinct(where, distances)
    step = normal * first.thickness
    if len(frames) > 1:
        _check_even(where, distances)
        travel = frames[-1].position - frames[0].position
        length = float(np.linalg.norm(travel))
        aside = float(np.linalg.norm(travel - normal * (travel @ normal)))
        if aside > max(SHEAR_TOLERANCE * length, _ROUNDING_MM):
            angle = np.degrees(np.arcsin(aside / length))
            raise ImageError(
                f"The slices in {where} are stacked at {angle:.1f} degrees to their normal, as "
                "with a tilted gantry, so they form no rectangular volume. Correct the tilt first "
                "(3D Slicer's DICOM import does, as does dcm2niix) and give the result."
            )
        step = normal * (distances[-1] - distances[0]) / (len(frames) - 1)
    rows_spacing, columns_spacing = first.spacing
    lps = np.eye(4)
    lps[:3, :3] = np.column_stack([row * columns_spacing, column * rows_spacing, step])
    lps[:3, 3] = frames[0].position
    return frames, affine_from_lps(lps)


def _axes(frame: Frame) -> tuple[npt.NDArray[np.float64], ...]:
    """Return unit vectors along a row, down a column and from slice to slice (LPS)."""
    row, column = frame.orientation
    normal = np.cross(row, column)
    lengths = np.linalg.norm(row), np.linalg.norm(column), np.linalg.norm(normal)
    if not np.isfinite(lengths).all() or np.abs(np.array(lengths) - 1).max() > 1e-2:
        raise ImageError(
            f"{frame.path} has an orientation that is no pair of perpendicular directions "
            f"({frame.orientation.ravel().tolist()}). Export the series again."
        )
    # The text's rounding would make a minute shear: row and normal are kept, the third follows.
    row, normal = row / lengths[0], normal / lengths[2]
    return row, np.cross(normal, row), normal


def _check_distinct(where: Path, distances: npt.NDArray[np.float64]) -> None:
    place = np.concatenate([[0], np.cumsum(np.diff(distances) > _SAME_POSITION_MM)])
    counts = Counter(place.tolist())
    if max(counts.values()) == 1:
        return
    if len(set(counts.values())) == 1:
        raise ImageError(
            f"The series in {where} is 4D: {counts[0]} images at each of {len(counts)} positions "
            f"({len(distances)} images), such as time points, echoes or diffusion weightings. "
            "Move the files of one volume to a folder of their own, or export one as NIfTI."
        )
    twice = [f"{distances[place == n][0]:.2f} mm" for n, count in counts.items() if count > 1]
    raise ImageError(
        f"{len(twice)} of the {len(counts)} slice positions in {where} hold more than one image "
        f"(at {', '.join(twice[:5])} along the slice normal). Remove the copies, or the images "
        "of a second acquisition."
    )


def _check_even(where: Path, distances: npt.NDArray[np.float64]) -> None:
    count = len(distances)
    even = np.linspace(distances[0], distances[-1], count)
    spacing = (distances[-1] - distances[0]) / (count - 1)
    if np.abs(distances - even).max() <= min(0.1 * spacing, max(0.02 * spacing, _ROUNDING_MM)):
        return
    usual = float(np.median(np.diff(distances)))
    gaps = []
    missing = 0
    for below, above in pairwise(distances):
        ratio = (above - below) / usual
        if abs(ratio - 1) > 0.05:
            gaps.append(f"{above - below:.2f} mm from {below:.2f} to {above:.2f}")
            missing += round(ratio) - 1 if abs(ratio - round(ratio)) < 0.1 else 0
    reason = f"{missing} missing slice(s)" if missing > 0 else "they are unevenly spaced"
    raise ImageError(
        f"The slices in {where} are {usual:.2f} mm apart, but {'; '.join(gaps[:3]) or 'not all'}"
        f" (positions along the slice normal): {reason}. Complete the series, or resample it to "
        "even slices first (3D Slicer's DICOM import can)."
    )


def _plane(frame: Frame) -> str:
    rows, columns = frame.rows_columns
    return f"{columns} x {rows} pixels of {frame.spacing[1]:.3f} x {frame.spacing[0]:.3f} mm"
