"""All metrics of a translated image and its reference, on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.engine.metrics.intensity import intensity_errors
from DeepTranslateLib.engine.metrics.overlap import label_overlaps
from DeepTranslateLib.engine.metrics.surfaces import surface_distances
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.finite import count_not_finite
from DeepTranslateLib.recipe import PLANES

# Wider than a pixel and about as wide as readers differ; sites with another need say so.
TOLERANCE_MM = 2.0


class MetricError(ValueError):
    """Two images cannot be compared; the message says why and what to do."""


@dataclass(frozen=True)
class LabelMetrics:
    """How one label of a prediction fits its reference, pooled over the volume.

    Attributes:
        value: The label's value.
        predicted_ml: Its volume in the prediction.
        reference_ml: Its volume in the reference.
        dice: 0 to 1; NaN where the label is on neither side.
        sensitivity: 0 to 1; NaN where the reference has none.
        specificity: 0 to 1.
        fractional_area_difference: (predicted - reference) / reference; NaN as sensitivity.
        hausdorff95_mm: 95th percentile of surface distances, the larger of both directions;
            infinite where only one side has a surface, NaN where none has.
        average_surface_distance_mm: Mean over both surfaces; infinite and NaN alike.
        surface_dice: Part of both surfaces within the tolerance; 0 where only one side has one.
    """

    value: int
    predicted_ml: float
    reference_ml: float
    dice: float
    sensitivity: float
    specificity: float
    fractional_area_difference: float
    hausdorff95_mm: float
    average_surface_distance_mm: float
    surface_dice: float


@dataclass(frozen=True)
class VolumeMetrics:
    """How the intensities of a prediction fit their reference; all NaN where no voxel counts.

    Attributes:
        voxels: How many counted.
        bias: Mean of prediction - reference, in the images' unit, as are the next and `rmse`.
        mae: Mean absolute error.
        mse: Mean squared error, in the unit's square.
        rmse: Root of it.
        lowest: Of the range of values that PSNR and SSIM refer to.
        highest: Of that range.
        psnr: In dB; infinite for equal images.
        ssim: Of slices, pooled.
        ms_ssim: Of slices, pooled.
    """

    voxels: int
    bias: float
    mae: float
    mse: float
    rmse: float
    lowest: float
    highest: float
    psnr: float
    ssim: float
    ms_ssim: float


def label_metrics(
    prediction: Image,
    reference: Image,
    values: Sequence[int],
    *,
    mask: Image | None = None,
    ignore: int | None = None,
    tolerance: float = TOLERANCE_MM,
) -> tuple[LabelMetrics, ...]:
    """Compare label maps.

    Args:
        prediction: Label map.
        reference: Label map on the same grid, stored in any orientation.
        values: Labels to compare, in this order.
        mask: Only voxels where it is not 0 count.
        ignore: Voxels of the reference with this value do not count.
        tolerance: Of the surface Dice, in mm.

    Raises:
        MetricError: The images are not on one grid, or the mask holds values that are not finite.
    """
    prediction = on_grid_of(reference, prediction, "prediction")
    counted = _counted(reference, mask)
    if ignore is not None:
        known = reference.voxels != ignore
        counted = known if counted is None else counted & known
    mine, theirs = prediction.voxels, reference.voxels
    millilitres = reference.voxel_volume_mm3 / 1000
    result = []
    for value, overlap in zip(values, label_overlaps(mine, theirs, values, counted), strict=True):
        surfaces = surface_distances(mine == value, theirs == value, reference.spacing, counted)
        result.append(
            LabelMetrics(
                value=value,
                predicted_ml=overlap.predicted * millilitres,
                reference_ml=overlap.reference * millilitres,
                dice=overlap.dice,
                sensitivity=overlap.sensitivity,
                specificity=overlap.specificity,
                fractional_area_difference=overlap.fractional_area_difference,
                hausdorff95_mm=surfaces.hausdorff95,
                average_surface_distance_mm=surfaces.average,
                surface_dice=surfaces.dice(tolerance),
            )
        )
    return tuple(result)


def volume_metrics(
    prediction: Image,
    reference: Image,
    *,
    mask: Image | None = None,
    value_range: tuple[float, float] | None = None,
    plane: str = "axial",
) -> VolumeMetrics:
    """Compare volumes in their unit, such as HU.

    Args:
        prediction: Volume.
        reference: Volume on the same grid, stored in any orientation.
        mask: Only voxels where it is not 0 count.
        value_range: Lowest and highest possible value, for PSNR and SSIM; default: those of the
            reference's voxels that count.
        plane: Slices that SSIM looks at: axial, coronal or sagittal.

    Raises:
        MetricError: The images are not on one grid, or they or the mask hold values that are not
            finite.
    """
    from DeepTranslateLib.engine.metrics.structure import slice_similarity

    prediction = on_grid_of(reference, prediction, "prediction")
    for image, name in ((prediction, "prediction"), (reference, "reference")):
        _refuse_infinite(image, name)
    counted = _counted(reference, mask)
    errors = intensity_errors(prediction.voxels, reference.voxels, counted)
    if value_range is None:
        value_range = errors.value_range
    inside = None if counted is None else reference.with_voxels(counted)
    mine, theirs = (image.oriented(PLANES[plane]).voxels for image in (prediction, reference))
    where = None if inside is None else inside.oriented(PLANES[plane]).voxels.astype(bool)
    ssim, ms_ssim = (
        slice_similarity(mine, theirs, value_range, where, multiscale=several)
        for several in (False, True)
    )
    return VolumeMetrics(
        voxels=errors.voxels,
        bias=errors.bias,
        mae=errors.mae,
        mse=errors.mse,
        rmse=errors.rmse,
        lowest=value_range[0],
        highest=value_range[1],
        psnr=errors.psnr(value_range),
        ssim=ssim,
        ms_ssim=ms_ssim,
    )


def refuse_unclear_mask(mask: Image, name: str) -> None:
    """Refuse a mask with voxels that are neither inside nor outside.

    Args:
        mask: 0 outside, any other number inside.
        name: What the message calls it, at its start.

    Raises:
        MetricError: It holds NaN or infinity.
    """
    unknown = count_not_finite(mask.voxels)
    if unknown:
        raise MetricError(
            f"{name} says neither inside nor outside: {unknown} of its voxels "
            f"{'is' if unknown == 1 else 'are'} NaN or infinite, and a mask is 0 outside and any "
            "other number inside. Replace them where the mask was made."
        )


def on_grid_of(reference: Image, image: Image, name: str, other: str = "reference") -> Image:
    """The image as the reference stores its voxels.

    Args:
        reference: Whose grid is needed.
        image: On the same grid, stored in any orientation.
        name: What a message calls the image.
        other: What it calls the reference.

    Raises:
        MetricError: It is on another grid.
    """
    turned = image.oriented(reference.orientation)
    if not turned.same_grid(reference):
        raise MetricError(
            f"The {name} is not on the grid of the {other}, so their voxels cannot be compared: "
            f"it has {_grid(turned)}, the {other} {_grid(reference)}. Resample it to the "
            f"{other} first (in 3D Slicer: Resample Scalar/Vector/DWI Volume, reference volume: "
            f"the {other}; nearest neighbour for labels and masks)."
        )
    return turned


def mask_on_grid_of(reference: Image, mask: Image, name: str, other: str = "reference") -> Image:
    """A mask as the reference stores its voxels; arguments as of `on_grid_of`.

    Raises:
        MetricError: It is on another grid, or holds NaN or infinity.
    """
    refuse_unclear_mask(mask, f"The {name}")
    return on_grid_of(reference, mask, name, other)


def _counted(reference: Image, mask: Image | None) -> npt.NDArray[np.bool_] | None:
    if mask is None:
        return None
    return np.asarray(mask_on_grid_of(reference, mask, "mask").voxels != 0)


def _refuse_infinite(image: Image, name: str) -> None:
    if count_not_finite(image.voxels):
        raise MetricError(
            f"The {name} holds values that are not finite (NaN or infinity). Replace them where "
            "the image was made; a mask does not leave them out."
        )


def _grid(image: Image) -> str:
    size = " x ".join(map(str, image.shape[::-1]))
    spacing, origin = (
        " x ".join(f"{value:.4g}" for value in values) for values in (image.spacing, image.origin)
    )
    return f"{size} voxels of {spacing} mm from RAS {origin.replace(' x ', ', ')}"
