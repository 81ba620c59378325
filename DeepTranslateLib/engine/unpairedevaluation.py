"""Translated volumes measured where no reference shows what they should be.

Three questions, each with volumes of its own: is the structure of the input kept (`inputs`), do
translations look like images of the target domain (`references`, of other patients), and does a
segmentation find the same in both (`segmentor`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.engine.metrics.distributions import (
    KernelDistance,
    frechet_distance,
    kernel_distance,
)
from DeepTranslateLib.engine.metrics.extractors import Extractor, random_extractor
from DeepTranslateLib.engine.metrics.histograms import Histogram
from DeepTranslateLib.engine.metrics.images import MetricError, mask_on_grid_of, on_grid_of
from DeepTranslateLib.engine.metrics.selfsimilarity import (
    cycle_ssim,
    gradient_difference,
    normalised_self_ssim,
)
from DeepTranslateLib.engine.segmentationagreement import LabelAgreement, segmentation_agreement
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.finite import refuse_not_finite
from DeepTranslateLib.recipe import PLANES

_COARSE = 256
_Voxels = npt.NDArray[np.generic]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StructureMetrics:
    """What one translation keeps of its input; see `metrics.selfsimilarity`.

    Attributes:
        self_ssim: NSelfSSIM, -1 to 1; the higher the better.
        gradient_difference: DIG, in SDs per mm; the lower the better.
        cycle_ssim: Of the input and what came back; NaN where nothing was given. It measures the
            pair of translators, not the translation.
    """

    self_ssim: float
    gradient_difference: float
    cycle_ssim: float


@dataclass(frozen=True)
class DistributionMetrics:
    """How far translations and images of the target domain are apart; the lower the better.

    Attributes:
        wasserstein: Of their intensities, in the target's unit.
        jensen_shannon: Of histograms of 256 bins over the range, 0 to 1.
        lowest: Of the range of values that histograms and random features refer to.
        highest: Of that range.
        kid: Of features of slices.
        fid: Of the same features.
        extractor: What made the features; neither KID nor FID means anything without it.
        prediction_slices: How many had a voxel that counts.
        reference_slices: Of the target domain.
    """

    wasserstein: float
    jensen_shannon: float
    lowest: float
    highest: float
    kid: KernelDistance
    fid: float
    extractor: str
    prediction_slices: int
    reference_slices: int


@dataclass(frozen=True)
class UnpairedMetrics:
    """What `evaluate_unpaired` found; what it was given no volumes for is empty or None."""

    structure: tuple[StructureMetrics, ...]
    distribution: DistributionMetrics | None
    agreement: tuple[LabelAgreement, ...]


def evaluate_unpaired(
    predictions: Sequence[Image],
    references: Sequence[Image] = (),
    *,
    inputs: Sequence[Image] = (),
    cycled: Sequence[Image] = (),
    cycled_inputs: Sequence[Image] = (),
    prediction_masks: Sequence[Image] = (),
    reference_masks: Sequence[Image] = (),
    value_range: tuple[float, float] | None = None,
    extractor: Extractor | None = None,
    segmentor: Translator | None = None,
    labels: Sequence[Image] = (),
    plane: str = "axial",
) -> UnpairedMetrics:
    """Measure translations, their inputs and images of the target domain.

    Args:
        predictions: Translated volumes.
        references: Of the target domain, of any patients and on any grid.
        inputs: What each prediction was made from, on its grid.
        cycled: Each prediction translated back, on its grid; needs `inputs`.
        cycled_inputs: The inputs on the scale that `cycled` is on, where it is another, such as a
            standard scale; needs `cycled`.
        prediction_masks: Of each prediction: only voxels where it is not 0 count, for structure,
            intensities and labels, and slices without any are left out of the features.
        reference_masks: The same of each reference.
        value_range: Lowest and highest value of the target domain; default: from the 0.5th to the
            99.5th percentile of the references.
        extractor: Makes features for KID and FID; default: `random_extractor` with the value
            range, at the median pixel size of the references.
        segmentor: Labels predictions, and inputs where there are no `labels`.
        labels: Label map of each input, with values as of the segmentor's recipe.
        plane: Slices that SSIM and gradients, and the default extractor, look at.

    Raises:
        MetricError: Nothing to compare with, lists of different lengths, other grids, masks with
            NaN, too few slices, or a segmentor that makes no labels.
        ImageError: Voxels are no numbers.
    """
    _check(
        predictions,
        references,
        inputs,
        cycled,
        cycled_inputs,
        prediction_masks,
        reference_masks,
        labels,
        segmentor is not None,
    )
    for images, name in ((predictions, "prediction"), (references, "reference")):
        for number, image in enumerate(images, start=1):
            refuse_not_finite(image, f"{name} {number}")
    structure = _structure(
        predictions, inputs, cycled, cycled_inputs or inputs, prediction_masks, plane
    )
    distribution = None
    if references:
        sides = (
            _Side("prediction", predictions, prediction_masks),
            _Side("reference", references, reference_masks),
        )
        distribution = _distribution(*sides, value_range, extractor, plane)
    agreement: tuple[LabelAgreement, ...] = ()
    if segmentor is not None:
        agreement = segmentation_agreement(segmentor, predictions, inputs, labels, prediction_masks)
    return UnpairedMetrics(structure, distribution, agreement)


@dataclass(frozen=True)
class _Side:
    name: str
    images: Sequence[Image]
    masks: Sequence[Image]

    def mask(self, place: int) -> Image | None:
        """Where an image counts, on its grid; None: everywhere."""
        if not self.masks:
            return None
        name = f"{self.name} {place + 1}"
        return mask_on_grid_of(self.images[place], self.masks[place], f"mask of {name}", name)

    def each_slice(self, tell: Callable[[_Voxels], None]) -> None:
        """Hand on what counts in each stored slice, since a volume's copy would be large."""
        for place, image in enumerate(self.images):
            mask = self.mask(place)
            for index, voxels in enumerate(image.voxels):
                chosen = voxels if mask is None else voxels[mask.voxels[index] != 0]
                if chosen.size:
                    tell(chosen)

    def features(self, extractor: Extractor) -> npt.NDArray[np.float64]:
        """Of all slices of the extractor's plane that count somewhere."""
        rows = []
        for place, image in enumerate(self.images):
            found, mask = extractor.features(image), self.mask(place)
            if mask is not None:
                upright = mask.oriented(PLANES[extractor.plane]).voxels
                found = found[(upright != 0).any(axis=(1, 2))]
            rows.append(found)
        return np.concatenate(rows)


def _check(
    predictions: Sequence[Image],
    references: Sequence[Image],
    inputs: Sequence[Image],
    cycled: Sequence[Image],
    cycled_inputs: Sequence[Image],
    prediction_masks: Sequence[Image],
    reference_masks: Sequence[Image],
    labels: Sequence[Image],
    segments: bool,
) -> None:
    if not predictions:
        raise MetricError("There is no prediction to measure. Give at least one.")
    if labels and not segments:
        raise MetricError("Label maps are held against a segmentation. Give a model that segments.")
    if segments and not inputs and not labels:
        raise MetricError(
            "A segmentation of the predictions alone has nothing to agree with. Give the inputs, "
            "or their label maps."
        )
    if not (references or inputs or labels):
        raise MetricError(
            "Predictions alone say nothing. Give references of the target domain, or the inputs "
            "that they were made from."
        )
    if cycled and not inputs:
        raise MetricError("What came back is held against the inputs. Give them as well.")
    if cycled_inputs and not cycled:
        raise MetricError("Inputs on the scale of what came back need that. Give it as well.")
    lists = (
        ("inputs", inputs, "predictions", predictions),
        ("cycled volumes", cycled, "predictions", predictions),
        ("inputs on their scale", cycled_inputs, "predictions", predictions),
        ("masks of predictions", prediction_masks, "predictions", predictions),
        ("label maps", labels, "predictions", predictions),
        ("masks of references", reference_masks, "references", references),
    )
    for name, given, other, wanted in lists:
        if given and len(given) != len(wanted):
            raise MetricError(
                f"There are {len(wanted)} {other} and {len(given)} {name}; each needs one, in the "
                "same order."
            )


def _structure(
    predictions: Sequence[Image],
    inputs: Sequence[Image],
    cycled: Sequence[Image],
    cycled_inputs: Sequence[Image],
    masks: Sequence[Image],
    plane: str,
) -> tuple[StructureMetrics, ...]:
    side = _Side("prediction", predictions, masks)
    rows = []
    for place, source in enumerate(inputs):
        name, other = f"prediction {place + 1}", f"input {place + 1}"
        refuse_not_finite(source, other)
        upright = source.oriented(PLANES[plane])
        x, y = upright.voxels, on_grid_of(upright, predictions[place], name, other).voxels
        mask = side.mask(place)
        counted = None if mask is None else on_grid_of(upright, mask, "mask", other).voxels != 0
        back = math.nan
        if cycled:
            refuse_not_finite(cycled[place], f"cycled volume {place + 1}")
            returned, begun = (
                on_grid_of(upright, image, image_name, other).voxels
                for image, image_name in (
                    (cycled[place], f"cycled volume {place + 1}"),
                    (cycled_inputs[place], f"{other} on its scale"),
                )
            )
            back = cycle_ssim(begun, returned, _range(begun, counted), counted)
        column_mm, row_mm = (float(mm) for mm in upright.spacing[:2])
        rows.append(
            StructureMetrics(
                self_ssim=normalised_self_ssim(x, y, counted),
                gradient_difference=gradient_difference(
                    x, y, counted, pixel_mm=(row_mm, column_mm)
                ),
                cycle_ssim=back,
            )
        )
    return tuple(rows)


def _range(voxels: _Voxels, counted: _Mask | None) -> tuple[float, float]:
    inside = voxels if counted is None else voxels[counted]
    return (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)


def _distribution(
    predictions: _Side,
    references: _Side,
    value_range: tuple[float, float] | None,
    extractor: Extractor | None,
    plane: str,
) -> DistributionMetrics:
    lowest, highest = math.inf, -math.inf

    def widen(values: _Voxels) -> None:
        nonlocal lowest, highest
        lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))

    for side in (predictions, references):
        side.each_slice(widen)
    if not lowest <= highest:
        raise MetricError("No voxel counts: every one of the masks is 0. Give other masks.")
    whole = (lowest, highest) if lowest < highest else (lowest, lowest + 1)
    fine = [_histogram(side, whole) for side in (predictions, references)]
    if value_range is None:
        value_range = (fine[1].percentile(0.5), fine[1].percentile(99.5))
    if not value_range[0] < value_range[1]:
        raise MetricError(
            f"The range of values from {value_range[0]:g} to {value_range[1]:g} is empty. Give "
            "the lowest and then the highest value of the target domain."
        )
    coarse = [_histogram(side, value_range, _COARSE) for side in (predictions, references)]
    if extractor is None:
        extractor = random_extractor(value_range, _median_pixel(references.images, plane), plane)
    features = [side.features(extractor) for side in (predictions, references)]
    if min(map(len, features)) < 2:
        raise MetricError(
            f"Distributions need two slices at least; the predictions have {len(features[0])}, "
            f"the references {len(features[1])}. Give more or longer volumes."
        )
    return DistributionMetrics(
        wasserstein=fine[0].wasserstein(fine[1]),
        jensen_shannon=coarse[0].jensen_shannon(coarse[1]),
        lowest=value_range[0],
        highest=value_range[1],
        kid=kernel_distance(*features),
        fid=frechet_distance(*features),
        extractor=extractor.name,
        prediction_slices=len(features[0]),
        reference_slices=len(features[1]),
    )


def _histogram(side: _Side, value_range: tuple[float, float], bins: int | None = None) -> Histogram:
    histogram = Histogram(value_range) if bins is None else Histogram(value_range, bins)
    side.each_slice(histogram.add)
    return histogram


def _median_pixel(images: Sequence[Image], plane: str) -> float:
    sizes = [math.sqrt(math.prod(image.oriented(PLANES[plane]).spacing[:2])) for image in images]
    return float(np.median(sizes))
