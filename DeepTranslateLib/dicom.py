"""DICOM: series found in a folder, their slices checked and put in order, their pixels read.

pydicom reads the headers, which decide the geometry and the rescaling; SimpleITK's GDCM decodes
the JPEG family. Whatever would make a volume that is not the patient (a tilted gantry, missing
slices, several volumes in one series) is refused with its reason.
"""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image import SHEAR_TOLERANCE, Image, ImageError, affine_from_lps

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Positions and orientations are decimal text, so they are never exact.
_SAME_POSITION_MM = 1e-3
_ROUNDING_MM = 0.06
_SAME_COSINE = 1e-4
_NO_IMAGES = {
    "SEG": "a segmentation; load it in 3D Slicer and export it as a label map",
    "RTSTRUCT": "contours; load them in 3D Slicer and export them as a label map",
    "RTDOSE": "a dose distribution; load it in 3D Slicer and export it as NRRD",
}


@dataclass(frozen=True)
class Series:
    """One DICOM series of a folder.

    Args:
        uid: Series Instance UID.
        description: Series Description, empty where the header has none.
        modality: "CT", "MR", "RTSTRUCT", ...
        number: Series Number, or None.
        files: Its files, sorted by path.
        frames: Number of images (slices or frames) in them; 0 for objects that are no images.
    """

    uid: str
    description: str
    modality: str
    number: int | None
    files: tuple[Path, ...]
    frames: int


@dataclass(frozen=True)
class _Frame:
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


def is_dicom_file(path: str | Path) -> bool:
    """Tell by its first bytes, or failing these by its suffix, whether a file is DICOM.

    Raises:
        OSError: The file cannot be opened.
    """
    path = Path(path)
    with open(path, "rb") as stream:
        if stream.read(132)[128:] == b"DICM":
            return True
    return path.suffix.lower() in DICOM_SUFFIXES


def list_series(folder: str | Path) -> list[Series]:
    """Return the DICOM series in a folder and its sub-folders, by series number.

    Files that are not DICOM are passed over; only headers are read.

    Raises:
        ImageError: There is no such folder, or a DICOM file's header is broken.
    """
    return [series for series, _ in _scanned(_dicom_files(Path(folder)))]


def read_series(source: str | Path | Series, series_uid: str | None = None) -> Image:
    """Return one DICOM series as an image.

    Slices are ordered by their positions along the slice normal. Slope and intercept are applied
    once: int16 or, where the values need it, int32 comes back where both are whole numbers,
    float32 otherwise.

    Args:
        source: A folder, a single DICOM file, or one of `list_series`.
        series_uid: Which of several series in the folder; not needed where there is but one.

    Raises:
        ImageError: There is no series or more than one, or it is not one evenly spaced,
            untilted, single-channel volume.
        OSError: A file cannot be opened.
    """
    if isinstance(source, Series):
        files: list[Path] = list(source.files)
    elif Path(source).is_file():
        files = [Path(source)]
    else:
        files = _dicom_files(Path(source))
    _, headers = _chosen(_scanned(files), str(getattr(source, "uid", source)), series_uid)
    with quiet_readers():
        frames = [frame for path, header in headers for frame in _frames(path, header)]
        frames, affine = _stacked(frames)
        return Image(_values(frames), affine)


def _dicom_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ImageError(f"{folder} does not exist. Check the path.")
    files = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        if is_dicom_file(path):
            files.append(path)
    return files


def _scanned(files: list[Path]) -> list[tuple[Series, list[tuple[Path, Any]]]]:
    """Return each series with its files and their headers, by series number."""
    groups: dict[str, list[tuple[Path, Any]]] = {}
    for path in files:
        header = _header(path)
        groups.setdefault(str(header.get("SeriesInstanceUID") or ""), []).append((path, header))
    found = []
    for uid, headers in groups.items():
        first = headers[0][1]
        series = Series(
            uid=uid,
            description=str(first.get("SeriesDescription") or ""),
            modality=str(first.get("Modality") or ""),
            number=_number(first.get("SeriesNumber"), int),
            files=tuple(path for path, _ in headers),
            frames=sum(_number_of_frames(header) for _, header in headers),
        )
        found.append((series, headers))
    return sorted(found, key=lambda entry: (entry[0].number or 0, entry[0].uid))


def _header(path: Path) -> Any:
    import pydicom

    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty. Copy or export it again.")
    try:
        with quiet_readers():
            # Files without the preamble exist; force reads them, the check below tells others.
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            # Broken values show when they are first asked for.
            # Anonymised files may have an empty Series UID; one without any ends before it.
            known = "SeriesInstanceUID" in header or "Rows" in header
    except OSError:
        raise
    except Exception as error:  # pydicom raises many types on broken files
        raise ImageError(
            f"{path} has a broken or truncated DICOM header ({sentence(error)}). Copy or export "
            "it again."
        ) from error
    if not known:
        raise ImageError(
            f"{path} is no DICOM file or its header is cut off (no Series Instance UID). Copy or "
            "export it again, or remove it from the folder."
        )
    return header


def _number_of_frames(header: Any) -> int:
    if "Rows" not in header or str(header.get("Modality")) in _NO_IMAGES:
        return 0
    return max(1, _number(header.get("NumberOfFrames"), int) or 1)


def _chosen(
    found: list[tuple[Series, list[tuple[Path, Any]]]], source: str, uid: str | None
) -> tuple[Series, list[tuple[Path, Any]]]:
    if not found:
        raise ImageError(
            f"There are no DICOM files in {source}. Give the folder that holds them, or the "
            "image file itself for other formats."
        )
    images = [entry for entry in found if entry[0].frames]
    if not images:
        series, headers = found[0]
        what = _NO_IMAGES.get(series.modality)
        kind = getattr(headers[0][1].get("SOPClassUID"), "name", "") or series.modality
        raise ImageError(
            f"{source} holds no image but {kind or 'an object of unknown kind'}"
            + (f", {what}." if what else ", without pixel data. Give an image series.")
        )
    if uid is not None:
        images = [entry for entry in images if entry[0].uid == uid]
    if len(images) == 1:
        return images[0]
    listing = "; ".join(
        f'{series.uid} "{series.description}" {series.modality}, {series.frames} slices in '
        f"{series.files[0].parent}"
        for series, _ in found
        if series.frames
    )
    problem = "several DICOM series" if uid is None else f"no series {uid}"
    raise ImageError(
        f"{source} holds {problem}: {listing}. Choose one by its UID (series=UID in Python, "
        "--series UID on the command line), or give the sub-folder that holds only one."
    )


def _frames(path: Path, header: Any) -> list[_Frame]:
    """Return the slices of one file, their geometry from functional groups if it has these."""
    _check_kind(path, header)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    count = _number_of_frames(header)
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
                _Frame(
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


def _stacked(frames: list[_Frame]) -> tuple[list[_Frame], npt.NDArray[np.float64]]:
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


def _axes(frame: _Frame) -> tuple[npt.NDArray[np.float64], ...]:
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


def _values(frames: list[_Frame]) -> npt.NDArray[Any]:
    """Return the rescaled values (K, J, I) of slices that may come from many files."""
    by_file: dict[Path, dict[int, int]] = {}
    for k, frame in enumerate(frames):
        by_file.setdefault(frame.path, {})[frame.index] = k

    def slices() -> Iterator[tuple[int, npt.NDArray[Any]]]:
        for path, places in by_file.items():
            for index, stored in enumerate(_decoded(path)):
                yield places[index], stored

    pairs = [(frame.slope, frame.intercept) for frame in frames]
    return rescaled(slices(), pairs, (len(frames), *frames[0].rows_columns))


def _decoded(path: Path) -> Iterator[npt.NDArray[Any]]:
    """Yield the stored values (J, I) of a file, frame by frame, without slope and intercept."""
    import pydicom

    try:
        dataset = pydicom.dcmread(path, force=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID") or pydicom.uid.ImplicitVRLittleEndian
        keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        if not any(dataset.get(keyword) for keyword in keywords):
            raise ImageError(
                f"{path} has no pixel data: only the header was exported, or the file is cut off. "
                "Export it again."
            )
        dataset.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_encapsulated:
            yield from pydicom.pixels.iter_pixels(dataset, raw=True)
        elif syntax == pydicom.uid.RLELossless:
            # GDCM refuses run lengths that are longer than the pixels, as in small noisy images.
            yield from pydicom.pixels.iter_pixels(dataset, raw=True, decoding_plugin="pydicom")
        else:
            yield from _decoded_by_gdcm(dataset, syntax)
    except (ImageError, OSError):
        raise
    except Exception as error:  # pydicom and SimpleITK raise many types on broken files
        raise ImageError(
            f"The pixels of {path} cannot be decoded ({sentence(error)}): the file is cut off, "
            "or compressed in an unusual way. Export the series again, uncompressed if you can."
        ) from error


def _decoded_by_gdcm(dataset: Any, syntax: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield compressed frames.

    GDCM gets a file with the pixels alone, since by its own rules it would apply slopes for some
    kinds of DICOM and not for others, and for a multi-frame file only one.
    """
    import pydicom
    import SimpleITK

    frames = _number(dataset.get("NumberOfFrames"), int) or 1
    bare = pydicom.Dataset()
    bare.SOPClassUID = pydicom.uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    bare.SOPInstanceUID = pydicom.uid.generate_uid()
    bare.SamplesPerPixel = 1
    bare.PhotometricInterpretation = "MONOCHROME2"
    bare.NumberOfFrames = frames
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        setattr(bare, keyword, dataset[keyword].value)
    bare.PixelRepresentation = dataset.get("PixelRepresentation") or 0
    bare["PixelData"] = dataset["PixelData"]
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = syntax
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.dcm"
        bare.save_as(path, enforce_file_format=True)
        del bare, dataset
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        image = reader.Execute()
    stored = SimpleITK.GetArrayViewFromImage(image)
    yield from stored.reshape(frames, *stored.shape[-2:])


def rescaled(
    slices: Iterable[tuple[int, npt.NDArray[Any]]],
    pairs: Sequence[tuple[float, float]],
    shape: tuple[int, int, int],
) -> npt.NDArray[Any]:
    """Return stored values times slope plus intercept, filled slice by slice and so held once.

    Args:
        slices: The index k and the stored values (J, I) of each slice, in any order.
        pairs: Slope and intercept of each slice, by k.
        shape: (K, J, I).

    Returns:
        int16, or int32 where values need it, if all slopes and intercepts are whole numbers and
        the stored values integers; float32 otherwise.
    """
    whole = all(float(slope).is_integer() and float(add).is_integer() for slope, add in pairs)
    values = np.empty(shape, np.int16 if whole else np.float32)
    for k, stored in slices:
        slope, intercept = pairs[k]
        if not whole or stored.dtype.kind == "f":
            values = values.astype(np.float32, copy=False)
            values[k] = stored * slope + intercept
        else:
            scaled = stored.astype(np.int64) * int(slope) + int(intercept)
            values = _wide_enough(values, scaled)
            values[k] = scaled
    return values


def _wide_enough(values: npt.NDArray[Any], new: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return `values`, in a wider type should `new` not fit into the present one."""
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= new.min() and new.max() <= np.iinfo(dtype).max:
            return values.astype(np.promote_types(values.dtype, dtype), copy=False)
    return values.astype(np.float32, copy=False)


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Keep pydicom's and GDCM's remarks on odd but harmless headers from the user."""
    import pydicom
    import SimpleITK

    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)


def _plane(frame: _Frame) -> str:
    rows, columns = frame.rows_columns
    return f"{columns} x {rows} pixels of {frame.spacing[1]:.3f} x {frame.spacing[0]:.3f} mm"


def _number(value: Any, kind: type) -> Any:
    """Return a header's value as a number, None where it is absent or none."""
    try:
        return kind(value)
    except (TypeError, ValueError):
        return None


def sentence(error: Exception) -> str:
    """Return the gist of a library's error: its last line, without the place in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].split("ERROR: ")[-1].rstrip(".")[:200]
