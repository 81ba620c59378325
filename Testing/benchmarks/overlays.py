"""Pictures of label maps over the CT slices that they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image as Picture

WINDOW = (-160.0, 240.0)
_COLORS = [0, 0, 255, 255, 0, 0, 0, 255, 0]  # of labels 3, 1, 2: SimpleITK counts on from n
_WIDEST = 900  # pixels of a picture

Row = tuple[np.ndarray, np.ndarray, np.ndarray]


def overlay_picture(rows: Iterable[Row], path: Path) -> None:
    """Write rows of slices of one size: the CT in HU, the labels found, and the true ones."""
    pictures = []
    for values, found, truth in rows:
        low, high = WINDOW
        grey = np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        pieces = [np.stack([grey] * 3, axis=-1)]
        for labels in (found, truth):
            label_slice = sitk.GetImageFromArray(labels.astype(np.uint8))
            overlay = sitk.LabelOverlay(sitk.GetImageFromArray(grey), label_slice, 0.4, 0, _COLORS)
            pieces.append(sitk.GetArrayFromImage(overlay))
        pictures.append(np.concatenate(pieces, axis=1))
    picture = Picture.fromarray(np.concatenate(pictures))
    picture.thumbnail((_WIDEST, _WIDEST))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(96).save(path, optimize=True)
