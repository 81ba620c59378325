"""Metrics of a validation without pairs, while networks learn, at the size that they see."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

from DeepTranslateLib.engine.metrics.histograms import Histogram
from DeepTranslateLib.engine.metrics.selfsimilarity import (
    cycle_ssim,
    gradient_difference,
    normalised_self_ssim,
)

_BINS = 4096


class UnpairedValidation:
    """Sums over all samples of a validation, and the metrics of the sums.

    All images are on the scale of the networks, 0 to 1; what lies outside counts as its end.

    Args:
        target_range: What 0 and 1 stand for in the target domain, in its unit.
    """

    def __init__(self, target_range: tuple[float, float]) -> None:
        self._width = target_range[1] - target_range[0]
        self._found = {name: _Mean() for name in ("cycle_ssim", "self_ssim", "gradient_difference")}
        self._translated, self._target = (Histogram((0.0, 1.0), _BINS) for _ in range(2))

    def add(
        self,
        source: Tensor,
        translated: Tensor,
        cycled: Tensor | None,
        target: Tensor,
        *,
        source_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
    ) -> None:
        """Count a batch of each domain.

        Args:
            source: Images of the source domain, (B, C, H, W) or (B, C, D, H, W); of several
                channels the middle one is the image.
            translated: What the forward network makes of them, (B, 1, *S).
            cycled: What the backward network makes of that, (B, 1, *S); None where a method has
                no backward network.
            target: Images of the target domain, (N, 1, *T): any number, of any size.
            source_mask: (B, 1, *S), 0 where source and translation do not count, such as beyond a
                volume that is smaller than a patch; default: all do.
            target_mask: (N, 1, *T), 0 where the target does not count; default: all does.
        """
        for place in range(len(source)):
            counted = None if source_mask is None else _slices(source_mask, place) > 0
            if counted is not None and not counted.any():
                continue
            x, y = _slices(source, place), _slices(translated, place)
            voxels = x.size if counted is None else int(counted.sum())
            self._translated.add(y if counted is None else y[counted])
            self._add("self_ssim", normalised_self_ssim(x, y, counted), voxels)
            self._add("gradient_difference", gradient_difference(x, y, counted), voxels)
            if cycled is not None:
                back = _slices(cycled, place)
                self._add("cycle_ssim", cycle_ssim(x, back, (0.0, 1.0), counted), voxels)
        theirs = _array(target)
        self._target.add(theirs if target_mask is None else theirs[_array(target_mask) > 0])

    def values(self) -> dict[str, float]:
        """By name, pooled over what counts; NaN where nothing did.

        Returns:
            `histogram_distance`: Wasserstein-1 distance of the intensities of translations and
            targets, in the target's unit; the lower the better. `cycle_ssim` (NaN without a
            backward network) and `self_ssim` (NSelfSSIM): the higher the better.
            `gradient_difference` (DIG), in SDs per pixel: the lower the better.
        """
        distance = self._translated.wasserstein(self._target) * self._width
        return {
            "histogram_distance": distance,
            **{name: mean.value for name, mean in self._found.items()},
        }

    @property
    def dice(self) -> list[float]:
        """Of labels, which there are none of."""
        return []

    def monitored(self, loss: float) -> float:
        """What a recipe without pairs compares epochs by; the lower the better.

        Args:
            loss: Of the same validation, which says nothing of how an image is translated.
        """
        return self.values()["histogram_distance"]

    def _add(self, name: str, value: float, voxels: int) -> None:
        if not math.isnan(value):
            self._found[name].add(value, voxels)


class _Mean:
    def __init__(self) -> None:
        self._total = self._weight = 0.0

    def add(self, value: float, weight: float) -> None:
        self._total += value * weight
        self._weight += weight

    @property
    def value(self) -> float:
        return self._total / self._weight if self._weight else math.nan


def _slices(images: Tensor, place: int) -> npt.NDArray[np.float32]:
    """One image of a batch as (slices, rows, columns)."""
    image = _array(images[place, images.shape[1] // 2])
    return image[None] if image.ndim == 2 else image


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()
