"""How much translated images vary, within each and from one to the next, against true ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from DeepTranslateLib.engine.watch import DIVERSITY, VARIANCE

# Of what the steps before showed in each new sum: some twenty steps count.
_KEPT = 0.95
# Pixels a side of the small copies by which images are told from each other.
_SMALL = 8
# Of squared values in -1 to 1: with less nothing varies.
_NOTHING = 1e-12


class Variety:
    """Two ratios of the last twenty steps or so, in which a true slice of air alone hides nothing.

    `variance_ratio` is the variance of the voxels of translated images over that of true ones:
    near 0 where each output is of one value. `diversity_ratio` is the variance from image to
    image, of each pixel of copies made small, over that of true ones: near 0 where every input
    gives the same output, however much is to be seen in it. Where true images do not differ
    either, or one alone was seen, it is 1.
    """

    def __init__(self) -> None:
        self._variances = {"translated": 0.0, "true": 0.0}
        self._seen = 0.0
        self._sums: dict[str, Tensor] = {}

    def ratios(self, translated: Tensor, true: Tensor) -> dict[str, float]:
        """Both, by name, after one more step.

        Args:
            translated: (B, C, *S), of the generator.
            true: (B, C, *S), of the domain it translates to.
        """
        shown = {"translated": translated.detach().float(), "true": true.detach().float()}
        self._seen = _KEPT * self._seen + len(true)
        for name, images in shown.items():
            self._variances[name] = _KEPT * self._variances[name] + float(images.var())
            small = _small(images)
            now = torch.stack([small.sum(dim=0), small.square().sum(dim=0)])
            before = self._sums.get(name)
            self._sums[name] = now if before is None else _KEPT * before + now
        of_voxels = self._variances["translated"] / max(self._variances["true"], _NOTHING)
        spread = {name: self._spread(name) for name in shown}
        known = spread["true"] > _NOTHING
        diversity = spread["translated"] / spread["true"] if known else 1.0
        return {VARIANCE: of_voxels, DIVERSITY: diversity}

    def state(self) -> dict[str, Any]:
        """What was seen, for `restore`."""
        return {
            "variances": dict(self._variances),
            "seen": self._seen,
            "sums": dict(self._sums),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `state` gave."""
        self._variances = dict(state["variances"])
        self._seen, self._sums = state["seen"], dict(state["sums"])

    def _spread(self, name: str) -> float:
        mean, square = self._sums[name] / self._seen
        return float((square - mean.square()).clamp(min=0).mean())


def _small(images: Tensor) -> Tensor:
    """Copies on the CPU: an Apple GPU has neither these means nor doubles."""
    if images.device.type == "mps":
        images = images.cpu()
    pooled = functional.adaptive_avg_pool3d if images.ndim == 5 else functional.adaptive_avg_pool2d
    return pooled(images, _SMALL).cpu().double()
