"""NIfTI-1 files, decoded here.

ITK's reader leaves the rest of a truncated file as it finds the memory, takes the voxels of
NAME.nii for those of NAME.nii.gz where both lie in one folder, and needs the memory twice.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image.reading import rescaled, sentence, several_volumes
from DeepTranslateLib.image.volume import Image, ImageError

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
_MM_PER_UNIT = {1: 1e3, 2: 1.0, 3: 1e-3}


@dataclass(frozen=True)
class _NiftiLayout:
    """What a NIfTI-1 header says of the voxels."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    start: int
    slope: float
    intercept: float
    affine: npt.NDArray[np.float64]


def read_nifti(path: Path) -> Image:
    """Return the image in a NIfTI-1 file, compressed or not.

    Raises:
        ImageError: It is no single scalar volume, damaged or cut off.
        OSError: The file may not be opened.
    """
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
        raise several_volumes(path, math.prod(sizes[3:]))
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


def check_nifti_written(path: Path, voxel_bytes: int) -> None:
    """Compare a written file's length: ITK's NIfTI writer does not notice a full disk.

    Raises:
        ImageError: The file is not of the length that these voxels need.
    """
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
