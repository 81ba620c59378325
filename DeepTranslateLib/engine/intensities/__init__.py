"""Intensities before the network sees them: bias field, standard scale and masks."""

from DeepTranslateLib.engine.intensities.preparation import (
    Prepared,
    prepare,
    prepared_target,
    read_target,
    taken_landmarks,
    with_landmarks,
)
from DeepTranslateLib.engine.intensities.undo import Changes

__all__ = [
    "Changes",
    "Prepared",
    "prepare",
    "prepared_target",
    "read_target",
    "taken_landmarks",
    "with_landmarks",
]
