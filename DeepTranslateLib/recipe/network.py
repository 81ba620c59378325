"""Which network, and how large."""

from __future__ import annotations

from dataclasses import dataclass

from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.schema import limits

# Levels that each network may have.
_LEVELS = {
    "unet": (2, 8),
    "dynunet": (3, 8),
    "basicunet": (5, 5),
    "segresnet": (2, 8),
    "swinunetr": (5, 5),
    "restormer": (2, 8),
    "resnet": (2, 5),
    "unit": (2, 5),
    # One resolution alone; the default stands for a field that is not read.
    "context_fcn": (5, 5),
}
# Those that have blocks at the coarsest level alone, and those that have any.
_BLOCKS_AT_THE_COARSEST = ("resnet", "unit")
WITH_BLOCKS = ("segresnet", "restormer", *_BLOCKS_AT_THE_COARSEST)
# Those of a part that reads the image and a part that writes the output.
WITH_ENCODER = ("unet", "dynunet", "basicunet", "segresnet", "resnet")


@dataclass(frozen=True)
class Network:
    """An architecture and its sizes; the U-Net is that of Ye et al. 2021.

    `blocks` are those of each level of a segresnet (residual) or restormer (transformer), finest
    first, or one number: the residual blocks of a resnet, or of each part of a unit that is not
    shared; null: as published.
    """

    name: str = limits(
        "unet",
        choices=tuple(_LEVELS),
        help="The second to the sixth are MONAI's; swinunetr and restormer need einops.",
    )
    dimension: int = limits(2, minimum=2, maximum=3, help="2 for slices, 3 for volumes.")
    levels: int = limits(
        5, minimum=2, maximum=8, help="Resolutions, the full one included; each halves the size."
    )
    channels: int = limits(
        16, minimum=1, maximum=256, help="After the first convolution; doubled at each level."
    )
    norm: str = limits(
        "none",
        choices=("none", "group", "instance", "batch"),
        help="Between convolutions; a restormer has its own.",
    )
    deep_supervision: bool = limits(
        False, help="Coarser levels have outputs that learn, too (unet, dynunet)."
    )
    residual: bool = limits(
        False, help="Learn the difference to the input; for volumes in the units of the input."
    )
    blocks: tuple[int, ...] | None = limits(None, minimum=1, maximum=16)

    def validate(self, path: str) -> None:
        """Refuse sizes that the architecture cannot have."""
        least, most = _LEVELS[self.name]
        if not least <= self.levels <= most:
            if self.name == "context_fcn":
                raise RecipeError(
                    f"{path}.levels",
                    f"a context_fcn has one resolution; leave it at {least}, found {self.levels}.",
                )
            possible = f"{least}" if least == most else f"{least} to {most}"
            raise RecipeError(
                f"{path}.levels", f"a {self.name} has {possible} levels, found {self.levels}."
            )
        multiple = {"swinunetr": 12, "restormer": 2 ** (self.dimension - 1)}.get(self.name, 1)
        if self.channels % multiple:
            raise RecipeError(
                f"{path}.channels",
                f"expected a multiple of {multiple} for a {self.name}, found {self.channels}.",
            )
        if self.norm != "none" and self.name == "restormer":
            raise RecipeError(f"{path}.norm", "a restormer has norms of its own; use 'none'.")
        if self.deep_supervision and self.name not in ("unet", "dynunet"):
            raise RecipeError(
                f"{path}.deep_supervision", f"a {self.name} has no outputs at coarser levels."
            )
        if self.name == "context_fcn" and self.dimension != 3:
            raise RecipeError(
                f"{path}.dimension", "a context_fcn reads patches: 3, and sampling.patch."
            )
        if self.name == "unit" and self.residual:
            raise RecipeError(
                f"{path}.residual", "a unit makes images of a latent, not of its input; use false."
            )
        self._check_blocks(f"{path}.blocks")

    @property
    def halvings(self) -> int:
        """How often the size is halved on the way to the coarsest features."""
        return 0 if self.name == "context_fcn" else self.levels - 1

    def _check_blocks(self, path: str) -> None:
        if self.blocks is None:
            return
        if self.name not in WITH_BLOCKS:
            raise RecipeError(path, f"a {self.name} has no blocks to count; use null.")
        if self.name in _BLOCKS_AT_THE_COARSEST:
            if len(self.blocks) != 1:
                raise RecipeError(
                    path, f"expected one number for a {self.name}, found {len(self.blocks)}."
                )
        elif len(self.blocks) != self.levels:
            raise RecipeError(
                path,
                f"expected a number for each of {self.levels} levels, found {len(self.blocks)}.",
            )
