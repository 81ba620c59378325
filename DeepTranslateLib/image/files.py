"""Images read from and written to files: NRRD, NIfTI-1 and MetaImage; DICOM is read only.

NRRD and MetaImage go through SimpleITK, NIfTI-1 is written by it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.image.dicom import DICOM_SUFFIXES, is_dicom_file, read_series
from DeepTranslateLib.image.nifti import check_nifti_written, read_nifti
from DeepTranslateLib.image.reading import quiet_readers, sentence, several_volumes
from DeepTranslateLib.image.volume import Image, ImageError

WRITTEN_SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha")
_READ_SUFFIXES = (*WRITTEN_SUFFIXES, ".nhdr", ".mhd")
_NOT_FINITE = re.compile(
    rb"^(space origin|space directions|Offset|Position|Origin|TransformMatrix|Orientation|Rotation"
    rb"|ElementSpacing)\s*[:=].*\b(nan|inf)",
    re.MULTILINE | re.IGNORECASE,
)


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
            check_nifti_written(temporary, image.voxels.size * stored.GetSizeOfPixelComponent())
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
        return read_nifti(path)
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
                raise several_volumes(path, math.prod(size[3:]))
            image = Image.from_sitk(reader.Execute(), share=True)
    except RuntimeError as error:
        raise ImageError(
            f"{path} cannot be read as {'MetaImage' if meta else 'NRRD'} ({sentence(error)}). It "
            "is cut off, damaged or of another format than its name says; copy or export it again."
        ) from error
    except ImageError as error:
        raise ImageError(f"{path} cannot be used. {error}") from error
    return image


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
