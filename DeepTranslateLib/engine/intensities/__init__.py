"""Intensities before the network sees them: standard scale and masks."""

from DeepTranslateLib.engine.intensities.preparation import (
    Prepared,
    prepare,
    prepared_target,
    read_target,
    taken_landmarks,
    with_landmarks,
)

__all__ = [
    "Prepared",
    "prepare",
    "prepared_target",
    "read_target",
    "taken_landmarks",
    "with_landmarks",
]
