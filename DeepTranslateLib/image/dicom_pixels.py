"""The pixels of DICOM files: decoded, rescaled and stacked.

pydicom decodes what is not compressed and run lengths, SimpleITK's GDCM the JPEG family.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from DeepTranslateLib.image.affine import ImageError
from DeepTranslateLib.image.dicom_geometry import Frame, number
from DeepTranslateLib.image.reading import rescaled, sentence


def values_of(frames: list[Frame]) -> npt.NDArray[Any]:
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

    frames = number(dataset.get("NumberOfFrames"), int) or 1
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
