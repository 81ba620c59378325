"""Which fields of a recipe mean something, and which choices are possible, given its other fields.

What has no meaning only hides a field in the form: the recipe itself says what it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from DeepTranslateLib.recipe.intensities import MASKS
from DeepTranslateLib.recipe.learning import (
    LABEL_LOSSES,
    LABEL_MONITORS,
    LAST,
    METHODS,
    UNPAIRED_MONITORS,
    VOLUME_LOSSES,
    VOLUME_MONITORS,
)
from DeepTranslateLib.recipe.methods import UNPAIRED, is_read
from DeepTranslateLib.recipe.network import WITH_BLOCKS, WITH_ENCODER

Content = dict[str, Any]
Place = tuple[str | int, ...]


def _makesLabels(content: Content) -> bool:
    return bool(content["target"]["kind"] == "labels")


def _makesVolumes(content: Content) -> bool:
    return not _makesLabels(content)


def _readsHounsfield(content: Content) -> bool:
    return bool(content["inputs"][0]["units"] == "HU")


def _readsOtherUnits(content: Content) -> bool:
    return not _readsHounsfield(content)


def _hasPatches(content: Content) -> bool:
    return content["sampling"]["patch"] is not None


def _hasSlices(content: Content) -> bool:
    return not _hasPatches(content)


def _isFlipped(content: Content) -> bool:
    augmentation = content["augmentation"]
    flips = ["flip_left_right", "flip_up_down"] + ["flip_slices"] * _hasPatches(content)
    return augmentation["probability"] > 0 and any(augmentation[flip] > 0 for flip in flips)


def _is(part: str, field: str, *values: Any) -> Callable[[Content], bool]:
    return lambda content: content[part][field] in values


def _isNot(part: str, field: str, value: Any) -> Callable[[Content], bool]:
    return lambda content: content[part][field] != value


_MEANINGFUL: dict[Place, Callable[[Content], bool]] = {
    ("target", "ignore"): _makesLabels,
    ("target", "units"): _makesVolumes,
    ("target", "range"): _makesVolumes,
    ("target", "standardisation"): lambda content: (
        _makesVolumes(content) and content["target"]["units"] != "HU"
    ),
    ("target", "landmarks"): _is("target", "standardisation", "histogram"),
    ("sampling", "fusion"): _hasSlices,
    ("sampling", "context"): _hasSlices,
    ("sampling", "foreground_weight"): lambda content: (
        _hasSlices(content) and _makesLabels(content)
    ),
    ("sampling", "foreground_share"): _hasPatches,
    ("sampling", "patches_per_epoch"): _hasPatches,
    ("sampling", "overlap"): _hasPatches,
    ("sampling", "mirror"): _isFlipped,
    ("preprocessing", "slice_spacing"): _hasPatches,
    ("preprocessing", "body_crop"): _readsHounsfield,
    ("preprocessing", "body_margin"): lambda content: (
        content["preprocessing"]["body_crop"] or content["preprocessing"]["mask"] != "none"
    ),
    ("preprocessing", "bias_correction"): _readsOtherUnits,
    ("preprocessing", "standardisation"): _readsOtherUnits,
    ("preprocessing", "landmarks"): _is("preprocessing", "standardisation", "histogram"),
    ("network", "levels"): _isNot("network", "name", "context_fcn"),
    ("network", "norm"): _isNot("network", "name", "restormer"),
    ("network", "deep_supervision"): _is("network", "name", "unet", "dynunet"),
    ("network", "residual"): lambda content: (
        _makesVolumes(content) and content["network"]["name"] != "unit"
    ),
    ("network", "blocks"): _is("network", "name", *WITH_BLOCKS),
    ("method", "name"): _makesVolumes,
    ("method", "coarse_targets"): _is("network", "deep_supervision", True),
    ("method", "auto_context"): _is("method", "name", "context_gan"),
    ("adversarial", "gradient_penalty"): _is("adversarial", "objective", "wgan_gp"),
    ("adversarial", "label_jitter"): _is("adversarial", "objective", "lsgan", "bce"),
    ("structure", "air_weight"): lambda content: (
        _readsHounsfield(content) and content["target"]["units"] == "HU"
    ),
    ("structure", "air_threshold"): _isNot("structure", "air_weight", 0),
    ("structure", "latent_weight"): _is("network", "name", "resnet"),
    ("structure", "features"): _isNot("structure", "perceptual_weight", 0),
    ("structure", "features_sha256"): _isNot("structure", "perceptual_weight", 0),
    ("structure", "features_level"): _isNot("structure", "perceptual_weight", 0),
    ("structure", "segmentor"): _isNot("structure", "shape_weight", 0),
    ("structure", "segmentor_sha256"): _isNot("structure", "shape_weight", 0),
    ("structure", "target_segmentor"): _isNot("structure", "shape_weight", 0),
    ("structure", "target_segmentor_sha256"): _isNot("structure", "shape_weight", 0),
    ("optimizer", "beta1"): _is("optimizer", "name", "adam", "adamw"),
    ("optimizer", "momentum"): _is("optimizer", "name", "rmsprop", "sgd"),
    ("augmentation", "tilt"): _hasPatches,
    ("augmentation", "flip_slices"): _hasPatches,
    ("noise", "kind"): _makesVolumes,
    ("noise", "level"): _isNot("noise", "kind", "none"),
    ("training", "frozen"): _is("network", "name", *WITH_ENCODER),
    ("training", "frozen_epochs"): _isNot("training", "frozen", "none"),
}


def hasMeaning(place: Place, content: Content) -> bool:
    """Tell whether a field does anything in a recipe.

    Args:
        place: Keys and indices that lead to it in the recipe's JSON.
        content: That JSON, with every field there; values may be impossible.
    """
    if len(place) == 2 and not is_read(content["method"]["name"], str(place[0]), str(place[1])):
        return False
    return _MEANINGFUL.get(place, lambda content: True)(content)


def possibleChoices(content: Content) -> dict[Place, Sequence[str]]:
    """Return, for fields whose choices depend on others, those that a recipe of this kind has."""
    labels = _makesLabels(content)
    kinds = ["none", "pixel-subset", "gaussian", "ring"]
    kinds.insert(3, "poisson" if _readsHounsfield(content) else "rician")
    method = content["method"]["name"]
    monitors: Sequence[str] = (*(LABEL_MONITORS if labels else VOLUME_MONITORS), LAST)
    if method in UNPAIRED:
        monitors = UNPAIRED_MONITORS
    if content["training"]["patience"] is not None:
        monitors = [name for name in monitors if name != LAST]
    losses: Sequence[str] = LABEL_LOSSES if labels else VOLUME_LOSSES
    if not is_read(method, "method", "loss"):
        losses = LABEL_LOSSES[:1]  # its default, which nothing reads
    return {
        ("method", "name"): METHODS[:1] if labels else METHODS,
        ("method", "loss"): losses,
        ("training", "monitor"): monitors,
        ("preprocessing", "mask"): MASKS[:2] if _readsHounsfield(content) else MASKS,
        ("noise", "kind"): kinds,
    }
