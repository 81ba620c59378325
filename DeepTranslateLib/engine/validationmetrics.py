"""Metrics of a validation while a network learns, at the size and spacing that it sees.

They are those of `engine.metrics`, summed over samples as these come by. The model's card, and a
cross-validation, measure on the images' own grid instead.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.metrics import mean_of_known
from DeepTranslateLib.engine.metrics.overlap import Overlap
from DeepTranslateLib.engine.similarity import multiscale_ssim, ssim
from DeepTranslateLib.engine.translation import channels_of
from DeepTranslateLib.recipe import Recipe

_SIMILARITIES = {"ssim": ssim, "ms_ssim": multiscale_ssim}
_HIGHER_IS_BETTER = ("dice", "sensitivity", "specificity", "psnr", *_SIMILARITIES)


class ValidationMetrics:
    """Sums over all samples of a validation, and the metrics of the sums.

    Args:
        recipe: Says what outputs are, and by which metric epochs are compared: structural
            similarities, which take long, are measured where they are asked for alone.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._target = recipe.target
        self._monitor = recipe.training.monitor
        self._overlaps = [Overlap() for _ in recipe.target.labels]
        self._weight = self._absolute = self._squared = 0.0
        self._similarity = self._importance = 0.0

    def add(self, output: Tensor, batch: Batch) -> None:
        """Count a batch.

        Args:
            output: (B, C, *S) as the network gives it.
            batch: What it was given, with targets (B, C, *S) and mask (B, 1, *S).
        """
        if self._target.kind == "labels":
            self._add_labels(channels_of(output), batch)
        else:
            self._add_values(output.float(), batch)

    @property
    def dice(self) -> list[float]:
        """Of each label, NaN where it occurs on neither side; of volumes none."""
        return [overlap.dice for overlap in self._overlaps]

    def values(self) -> dict[str, float]:
        """By name: for labels means over those that have a value, for volumes pooled over voxels.

        Returns:
            For labels `dice`, `sensitivity`, `specificity` and `fractional_area_difference`, of
            which the mean is over its absolute values. For volumes `mae` and `rmse` in the
            target's units, `psnr` in dB (of the target's range) and, if epochs are compared by
            it, `ssim` or `ms_ssim`. NaN where nothing counted.
        """
        if self._target.kind == "labels":
            return self._label_values()
        assert self._target.range is not None
        low, high = self._target.range
        mse = self._squared / self._weight if self._weight else math.nan
        found = {
            "mae": (high - low) * (self._absolute / self._weight if self._weight else math.nan),
            "rmse": (high - low) * math.sqrt(mse),
            "psnr": math.inf if mse == 0 else -10 * math.log10(mse),
        }
        if self._monitor in _SIMILARITIES:
            known = self._importance > 0
            found[self._monitor] = self._similarity / self._importance if known else math.nan
        return found

    def monitored(self, loss: float) -> float:
        """What the recipe compares epochs by; the lower the better. NaN where it is unknown.

        Args:
            loss: Of the same validation.
        """
        if self._monitor == "loss":
            return loss
        value = self.values()[self._monitor]
        return -value if self._monitor in _HIGHER_IS_BETTER else value

    def _label_values(self) -> dict[str, float]:
        overlaps = self._overlaps
        return {
            "dice": mean_of_known(self.dice),
            "sensitivity": mean_of_known(o.sensitivity for o in overlaps),
            "specificity": mean_of_known(o.specificity for o in overlaps),
            "fractional_area_difference": mean_of_known(
                abs(o.fractional_area_difference) for o in overlaps
            ),
        }

    def _add_labels(self, channels: Tensor, batch: Batch) -> None:
        counted = batch.mask[:, 0] > 0
        predicted = channels[counted]
        for place, plane in enumerate(batch.targets.unbind(1)):
            mine, theirs = predicted == place + 1, plane[counted] > 0.5
            both = int((mine & theirs).sum())
            extra, missed = int(mine.sum()) - both, int(theirs.sum()) - both
            neither = predicted.numel() - both - extra - missed
            self._overlaps[place] += Overlap(both, extra, missed, neither)

    def _add_values(self, output: Tensor, batch: Batch) -> None:
        # On the CPU: an Apple GPU has no doubles.
        error = (output - batch.targets).cpu().double()
        weights = batch.mask.cpu().double()
        self._weight += float(weights.sum()) * error.shape[1]
        self._absolute += float((error.abs() * weights).sum())
        self._squared += float((error**2 * weights).sum())
        if self._monitor in _SIMILARITIES:
            with torch.autocast(output.device.type, enabled=False):
                means, importance = _SIMILARITIES[self._monitor](
                    output, batch.targets, batch.mask, data_range=1.0
                )
            self._similarity += float((means * importance).sum())
            self._importance += float(importance.sum()) * means.shape[1]
