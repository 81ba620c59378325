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
}
# Those of a part that reads the image and a part that writes the output.
WITH_ENCODER = ("unet", "dynunet", "basicunet", "segresnet")


@dataclass(frozen=True)
class Network:
    """An architecture and its sizes; the U-Net is that of Ye et al. 2021.

    `blocks` are those of each level of a segresnet (residual) or restormer (transformer), finest
    first; null: as published.
    """

    name: str = limits(
        "unet",
        choices=tuple(_LEVELS),
        help="All but the U-Net are MONAI's; swinunetr and restormer need the package einops.",
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
        if self.blocks is None:
            return
        if self.name not in ("segresnet", "restormer"):
            raise RecipeError(f"{path}.blocks", f"a {self.name} has no blocks to count; use null.")
        if len(self.blocks) != self.levels:
            raise RecipeError(
                f"{path}.blocks",
                f"expected a number for each of {self.levels} levels, found {len(self.blocks)}.",
            )
