"""Values of label maps, and the channels of a network that stand for them."""

from __future__ import annotations

import numpy as np

from DeepTranslateLib.recipe import Recipe

IGNORE = 255  # channel of pixels that neither teach nor count


def channels_of_values(values: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Channels (uint8: 0 none, n the nth label, 255 ignored) of label map values, any shape."""
    lookup = np.zeros(256, dtype=np.uint8)
    for channel, label in enumerate(recipe.target.labels, start=1):
        lookup[[label.value, *label.also]] = channel
    if recipe.target.ignore is not None:
        lookup[recipe.target.ignore] = IGNORE
    return lookup[values.astype(np.int64)]


def values_of_channels(channels: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Label map values (uint8) of channels (0 none, n the nth label, 255 ignored), any shape."""
    lookup = np.zeros(256, dtype=np.uint8)
    for channel, label in enumerate(recipe.target.labels, start=1):
        lookup[channel] = label.value
    if recipe.target.ignore is not None:
        lookup[IGNORE] = recipe.target.ignore
    return lookup[channels]
