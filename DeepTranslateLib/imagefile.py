"""Images read from and written to files: NRRD, NIfTI-1 and MetaImage; DICOM is read only.

NRRD and MetaImage go through SimpleITK. NIfTI-1 is decoded here, for ITK's reader leaves the rest
of a truncated file as it finds the memory, takes the voxels of NAME.nii for those of NAME.nii.gz
where both lie in one folder, and needs the memory twice.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.dicom import (
    DICOM_SUFFIXES,
    is_dicom_file,
    quiet_readers,
    read_series,
    rescaled,
    sentence,
)
from DeepTranslateLib.image import Image, ImageError

WRITTEN_SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha")
_READ_SUFFIXES = (*WRITTEN_SUFFIXES, ".nhdr", ".mhd")
_GZIP_MAGIC = b"\x1f\x8b"
# Chapter "datatype" of the NIfTI-1 standard (nifti1.h).
_NIFTI_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1",
    512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_NIFTI_UNUSABLE = {32: "complex", 128: "in colour", 1792: "complex", 2304: "in colour"}
_NIFTI_HEADER = np.dtype(
    {
        "names": [
            "sizeof_hdr", "dim", "datatype", "pixdim", "vox_offset", "slope", "intercept",
            "xyzt_units", "qform_code", "sform_code", "quatern", "offset", "srow", "magic",
        ],
        "formats": [
            "i4", "8i2", "i2", "8f4", "f4", "f4", "f4",
            "u1", "i2", "i2", "3f4", "3f4", "(3,4)f4", "S4",
        ],
        "offsets": [0, 40, 70, 76, 108, 112, 116, 123, 252, 254, 256, 268, 280, 344],
        "itemsize": 348,
    }
)  # fmt: skip
_NOT_FINITE = re.compile(
    rb"^(space origin|space directions|Offset|Position|Origin|TransformMatrix|Orientation|Rotation"
    rb"|ElementSpacing)\s*[:=].*\b(nan|inf)",
    re.MULTILINE | re.IGNORECASE,
)
_MM_PER_UNIT = {1: 1e3, 2: 1.0, 3: 1e-3}


def read_image(path: str | Path, series: str | None = None) -> Image:
    """Return the image in a file, or in a folder of DICOM files.

    Args:
        path: A NRRD, NIfTI-1, MetaImage or DICOM file, or a folder with a DICOM series.
        series: Series Instance UID, for a folder with several.

    Raises:
        ImageError: The path does not exist, or what it holds is no single scalar volume that can
            be read whole; the message says what it is instead and what to do.
        OSError: The file may not be opened.
    """
    path = Path(path)
    if path.is_dir():
        image = read_series(path, series)
    elif not path.exists():
        raise ImageError(f"{path} does not exist. Check the path.")
    else:
        image = _read_file(path)
    if image.is_sheared:
        raise ImageError(
            f"{path} is sheared: its axes {_axes_apart(image)}, as left by an affine "
            "registration or a tilted gantry, which neither NIfTI in ITK nor most tools can hold. "
            "Resample it onto a rectangular grid first (in 3D Slicer: harden its transform, then "
            "Resample Scalar/Vector/DWI Volume)."
        )
    return image


def write_image(image: Image, path: str | Path, *, compressed: bool = True) -> Path:
    """Write an image whole or not at all, in the format of the path's suffix.

    64-bit integers are written in the smallest integer type that holds their values, since few
    programs read more.

    Args:
        image: What to write.
        path: NAME.nrrd, .nii.gz, .nii or .mha.
        compressed: Compress NRRD and MetaImage; NIfTI goes by its suffix.

    Returns:
        The path.

    Raises:
        ImageError: Another suffix, no such folder, a sheared grid, or the writing failed.
        OSError: The folder may not be written to.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix not in WRITTEN_SUFFIXES:
        raise ImageError(
            f"{path} cannot be written: the suffix says the format and must be one of "
            f"{', '.join(WRITTEN_SUFFIXES)}."
        )
    if not path.parent.is_dir():
        raise ImageError(f"{path} cannot be written: there is no folder {path.parent}.")
    if image.is_sheared:
        raise ImageError(
            f"{path} was not written: the image is sheared (its axes {_axes_apart(image)}), which "
            "the format would lose. Resample the image onto a rectangular grid first."
        )
    import SimpleITK

    stored = image.with_voxels(_storable(image.voxels)).to_sitk()
    with atomic_file(path) as temporary, quiet_readers():
        try:
            SimpleITK.WriteImage(stored, str(temporary), compressed)
        except RuntimeError as error:
            raise ImageError(
                f"{path} cannot be written ({sentence(error)}). Check the free space and the "
                "rights of the folder."
            ) from error
        if suffix in (".nii", ".nii.gz"):
            _check_nifti_written(temporary, image.voxels.size * stored.GetSizeOfPixelComponent())
    return path


def is_image_file(path: str | Path) -> bool:
    """Tell whether a file is of a format that `read_image` reads, without reading it whole.

    Raises:
        OSError: The file may not be opened.
    """
    path = Path(path)
    return path.is_file() and (_suffix(path) in _READ_SUFFIXES or is_dicom_file(path))


def image_name(path: str | Path) -> str:
    """Return a path's name without the suffix of an image format; a folder's name as it is.

    Example:
        >>> image_name("study/CT.nii.gz")
        'CT'
    """
    path = Path(path)
    suffix = _suffix(path)
    if path.is_dir() or suffix not in (*_READ_SUFFIXES, *DICOM_SUFFIXES):
        return path.name
    return path.name[: -len(suffix)]


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def _axes_apart(image: Image) -> str:
    cosines = np.abs(image.directions.T @ image.directions)[np.triu_indices(3, 1)]
    return f"meet at {np.degrees(np.arccos(min(1.0, cosines.max()))):.2f} degrees instead of 90"


def _read_file(path: Path) -> Image:
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty. Copy or export it again.")
    suffix = _suffix(path)
    if suffix in (".nii", ".nii.gz"):
        return _read_nifti(path)
    if suffix in _READ_SUFFIXES:
        return _read_by_itk(path)
    if is_dicom_file(path):
        return read_series(path)
    raise ImageError(
        f"{path} is no image this program reads. Give a NRRD, NIfTI-1 or MetaImage file "
        f"({', '.join(_READ_SUFFIXES)}), a DICOM file or a folder with a DICOM series."
    )


def _read_by_itk(path: Path) -> Image:
    import SimpleITK

    with open(path, "rb") as stream:  # a missing right is an OSError, not ITK's "cannot be read"
        if _NOT_FINITE.search(stream.read(1 << 14)):
            raise ImageError(
                f"{path} has a place that is not finite (nan or inf in its header), which ITK "
                "would take for 0. Repair the header where the image was made."
            )
    reader = SimpleITK.ImageFileReader()
    # By the suffix: ITK would otherwise try every reader it has, each with its own complaint.
    meta = _suffix(path) in (".mha", ".mhd")
    reader.SetImageIO("MetaImageIO" if meta else "NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        with quiet_readers():
            reader.ReadImageInformation()
            size = reader.GetSize()
            if len(size) > 3 and math.prod(size[3:]) > 1:
                raise _several_volumes(path, math.prod(size[3:]))
            image = Image.from_sitk(reader.Execute(), share=True)
    except RuntimeError as error:
        raise ImageError(
            f"{path} cannot be read as {'MetaImage' if meta else 'NRRD'} ({sentence(error)}). It "
            "is cut off, damaged or of another format than its name says; copy or export it again."
        ) from error
    except ImageError as error:
        raise ImageError(f"{path} cannot be used. {error}") from error
    return image


def _several_volumes(path: Path, count: int) -> ImageError:
    return ImageError(
        f"{path} holds {count} volumes (4D: time points, echoes, channels or components); one is "
        "needed. Split it, for example in 3D Slicer or with fslsplit, and give one of the volumes."
    )


@dataclass(frozen=True)
class _NiftiLayout:
    """What a NIfTI-1 header says of the voxels."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    start: int
    slope: float
    intercept: float
    affine: npt.NDArray[np.float64]


def _read_nifti(path: Path) -> Image:
    try:
        with _opened(path) as stream:
            layout = _nifti_layout(path, stream.read(348))
            stream.read(layout.start - 348)
            expected = math.prod(layout.shape) * layout.dtype.itemsize
            # Deflate packs 1032 to 1 at most: refuse before a broken header claims the memory.
            if expected > path.stat().st_size * 1032:
                raise _cut_off(path, f"the header announces {expected} bytes of voxels")
            voxels = np.empty(layout.shape, layout.dtype)
            found = _fill(stream, voxels)
            if found < voxels.nbytes:
                raise _cut_off(path, f"{found} of {voxels.nbytes} bytes of voxels")
            # Reading on to the end makes gzip compare its checksum.
            while stream.read(1 << 20):
                pass
    except EOFError:
        raise _cut_off(path, "its compressed data ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ImageError(
            f"{path} is damaged: its compressed data is broken ({sentence(error)}). Copy or "
            "export it again."
        ) from error
    if layout.slope != 1 or layout.intercept != 0:
        pairs = [(layout.slope, layout.intercept)] * len(voxels)
        voxels = rescaled(enumerate(voxels), pairs, layout.shape)
    try:
        return Image(voxels, layout.affine)
    except ImageError as error:
        raise ImageError(f"{path} cannot be used. {error}") from error


def _opened(path: Path) -> BinaryIO:
    with open(path, "rb") as stream:
        compressed = stream.read(2) == _GZIP_MAGIC
    opener: Callable[..., Any] = gzip.open if compressed else open
    return opener(path, "rb")


def _fill(stream: BinaryIO, voxels: npt.NDArray[Any]) -> int:
    """Read into the array's own memory; return how many bytes there were."""
    memory = memoryview(voxels.reshape(-1).view(np.uint8))
    filled = 0
    while filled < len(memory):
        count = stream.readinto(memory[filled : filled + (1 << 20)])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled


def _cut_off(path: Path, what: str) -> ImageError:
    return ImageError(f"{path} is cut off ({what}). Copy or export it again.")


def _nifti_layout(path: Path, raw: bytes) -> _NiftiLayout:
    """Return where the voxels are, of which type, and where they lie."""
    if len(raw) < 348:
        raise _cut_off(path, f"{len(raw)} of 348 bytes of header")
    header = np.frombuffer(raw, _NIFTI_HEADER)[0]
    order = "<"
    if header["sizeof_hdr"] not in (348, 540):
        header = np.frombuffer(raw, _NIFTI_HEADER.newbyteorder(">"))[0]
        order = ">"
    if header["sizeof_hdr"] == 540:
        raise ImageError(
            f"{path} is NIfTI-2, which is not supported. Save it as NIfTI-1 or NRRD first."
        )
    if header["sizeof_hdr"] != 348 or header["magic"] != b"n+1":
        hint = {b"NRRD": " It is NRRD: rename it to .nrrd.", b"Obje": " It is MetaImage."}
        pair = " It is the header of a NIfTI pair: save it as one file." * (
            header["magic"] == b"ni1"
        )
        raise ImageError(
            f"{path} is no NIfTI-1 file, whatever its name says.{pair or hint.get(raw[:4], '')} "
            "Save it as NIfTI-1 or NRRD from the program it came from."
        )
    dim = [int(n) for n in header["dim"]]
    sizes = dim[1 : dim[0] + 1]
    if not 1 <= dim[0] <= 7 or min(sizes) < 1:
        raise ImageError(f"{path} has a broken NIfTI header (dimensions {dim}). Export it again.")
    datatype = int(header["datatype"])
    if datatype in _NIFTI_UNUSABLE:
        raise ImageError(
            f"{path} is {_NIFTI_UNUSABLE[datatype]}; one real number a voxel is needed. Take the "
            "magnitude of complex data, or the original of a colour rendering."
        )
    if datatype not in _NIFTI_TYPES:
        raise ImageError(
            f"{path} stores its voxels as NIfTI data type {datatype}, which is not supported. "
            "Save it with 8- to 64-bit integers or 32- or 64-bit reals."
        )
    if math.prod(sizes[3:]) > 1:
        raise _several_volumes(path, math.prod(sizes[3:]))
    i, j, k = (*sizes, 1, 1)[:3]
    slope, intercept = float(header["slope"]), float(header["intercept"])
    scaled = slope != 0 and math.isfinite(slope)  # the standard: 0 means no scaling
    start = float(header["vox_offset"])
    return _NiftiLayout(
        shape=(k, j, i),
        dtype=np.dtype(order + _NIFTI_TYPES[datatype]),
        start=max(352, int(start)) if math.isfinite(start) else 352,
        slope=slope if scaled else 1.0,
        intercept=intercept if scaled and math.isfinite(intercept) else 0.0,
        affine=_nifti_affine(header, len(sizes)),
    )


def _nifti_affine(header: Any, dimensions: int) -> npt.NDArray[np.float64]:
    """Return the affine to RAS in mm by the sform, failing this the qform, as nibabel."""
    affine = np.eye(4)
    pixdim = header["pixdim"].astype(float)
    spacing = np.abs(pixdim[1:4])
    spacing[(spacing == 0) & (np.arange(3) >= dimensions)] = 1
    if header["sform_code"] > 0:
        affine[:3] = header["srow"]
        if dimensions < 3 and not affine[:3, 2].any():
            affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
            affine[:3, 2] /= np.linalg.norm(affine[:3, 2]) or 1
    elif header["qform_code"] > 0:
        affine[:3, :3] = _rotation(header["quatern"].astype(float)) * spacing
        # pixdim[0], "qfac": -1 for left-handed voxels, 0 in old files for 1.
        affine[:3, 2] *= -1 if pixdim[0] < 0 else 1
        affine[:3, 3] = header["offset"]
    else:
        # The place is unknown. Towards L, P and S as ITK and 3D Slicer have it, so that a label map
        # drawn there fits.
        affine[:3, :3] = np.diag(spacing * (-1, -1, 1))
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return affine


def _rotation(bcd: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the (3, 3) rotation of a unit quaternion given without its real part."""
    a = math.sqrt(max(0.0, 1 - float(bcd @ bcd)))
    b, c, d = bcd / max(1.0, float(np.linalg.norm(bcd)))
    cross = np.array([[0, -d, c], [d, 0, -b], [-c, b, 0]])
    return np.eye(3) + 2 * a * cross + 2 * cross @ cross


def _storable(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if voxels.dtype.kind not in "iu" or voxels.dtype.itemsize < 8:
        return voxels
    low, high = int(voxels.min()), int(voxels.max())
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.uint32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return voxels.astype(dtype)
    raise ImageError(
        f"The voxels are 64-bit integers from {low} to {high}, which no 32-bit integer holds. "
        "Convert them to float64 first, or subtract an offset."
    )


def _check_nifti_written(path: Path, voxel_bytes: int) -> None:
    """Compare the length: ITK's NIfTI writer does not notice a full disk."""
    expected = 352 + voxel_bytes
    if path.name.endswith(".gz"):
        with open(path, "rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4))
            length = int.from_bytes(stream.read(4), "little")
        expected %= 1 << 32  # gzip's trailer counts modulo 2^32
    else:
        length = path.stat().st_size
    if length != expected:
        raise ImageError(
            "The image was not written whole. Check the free space of the disk; the file that "
            "was there before, if any, is as it was."
        )
