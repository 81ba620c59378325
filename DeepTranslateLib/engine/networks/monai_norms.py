"""Norms as MONAI names them."""

from __future__ import annotations

from typing import Any

from DeepTranslateLib.engine.networks.unet import group_count


def monai_norm(norm: str, channels: int) -> str | tuple[str, dict[str, Any]]:
    """MONAI's name and arguments of a recipe's norm; "" is none.

    Args:
        norm: "none", "group", "instance" or "batch".
        channels: The fewest that it is applied to; all others are multiples of it.
    """
    norms: dict[str, str | tuple[str, dict[str, Any]]] = {
        "none": "",
        "group": ("group", {"num_groups": group_count(channels)}),
        "instance": ("instance", {"affine": True}),
        "batch": ("batch", {}),
    }
    return norms[norm]
