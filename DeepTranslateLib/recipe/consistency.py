"""What each part of a recipe allows but the parts together do not."""

from __future__ import annotations

from DeepTranslateLib.recipe.augmentation import Noise
from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.recipe.images import Target
from DeepTranslateLib.recipe.intensities import check_standardisation
from DeepTranslateLib.recipe.learning import (
    LABEL_LOSSES,
    LABEL_MONITORS,
    LAST,
    PAIRED,
    VOLUME_LOSSES,
    VOLUME_MONITORS,
    Method,
    Training,
)
from DeepTranslateLib.recipe.network import Network
from DeepTranslateLib.recipe.sampling import Preprocessing, Sampling


def check_losses(method: Method, kind: str, path: str) -> None:
    """Refuse losses of labels for volumes, and the other way round.

    Args:
        method: Names the losses.
        kind: Of the target.
        path: Of the losses.
    """
    if method.name == "cut":
        return
    possible = LABEL_LOSSES if kind == "labels" else VOLUME_LOSSES
    for index, term in enumerate(method.losses):
        if term.name not in possible:
            raise RecipeError(
                path if isinstance(method.loss, str) else f"{path}[{index}].name",
                f"'{term.name}' does not fit a target of kind '{kind}'. "
                f"Possible: {', '.join(possible)}.",
            )


def check_monitor(training: Training, method: Method, kind: str, path: str) -> None:
    """Refuse to compare epochs of pairs by what this kind of target does not have."""
    if method.name not in PAIRED:
        return
    possible = (*(LABEL_MONITORS if kind == "labels" else VOLUME_MONITORS), LAST)
    if training.monitor not in possible:
        raise RecipeError(
            path,
            f"'{training.monitor}' does not fit a target of kind '{kind}'. "
            f"Possible: {', '.join(possible)}.",
        )


def check_network(network: Network, method: Method, path: str) -> None:
    """Refuse the paper's deep supervision where there is no quarter of the size."""
    quarter = network.deep_supervision and method.coarse_targets == "full_size"
    if quarter and network.levels < 4:
        raise RecipeError(
            f"{path}.levels",
            "expected at least 4 for an output at a quarter of the size "
            f"(method.coarse_targets is 'full_size'), found {network.levels}.",
        )


def check_residual(network: Network, target: Target, units: str, path: str) -> None:
    """Refuse a difference between what has none.

    Args:
        network: May be residual.
        target: Of the recipe.
        units: Of the input.
        path: Of `residual`.
    """
    if not network.residual:
        return
    if target.kind != "volume":
        raise RecipeError(path, "labels are no difference to the input.")
    if units != target.units:
        raise RecipeError(
            path,
            f"the input's units are '{units}', the target's are '{target.units}'; only values in "
            "the same units have a difference.",
        )


def check_dimension(
    network: Network, sampling: Sampling, preprocessing: Preprocessing, path: str
) -> None:
    """Refuse slices for a network of volumes, patches for one of slices, and patches too small."""
    dimension, patch = network.dimension, sampling.patch
    if dimension == 2 and patch is not None:
        raise RecipeError(
            f"{path}.network.dimension", "patches are read by a network of dimension 3, found 2."
        )
    if dimension == 3 and patch is None:
        raise RecipeError(
            f"{path}.network.dimension",
            "samples are slices, which a network of dimension 2 reads; set sampling.patch for "
            "one of 3, or sampling.context for what lies before and behind a slice.",
        )
    if patch is not None and network.norm in ("instance", "batch"):
        coarsest = 2**network.halvings
        if max(patch) <= coarsest:
            raise RecipeError(
                f"{path}.network.norm",
                f"after {network.levels} levels a patch of {' x '.join(map(str, patch))} is a "
                f"single voxel, which '{network.norm}' cannot take a variance of; use fewer "
                "levels, a larger patch, or 'group'.",
            )
    if patch is None and preprocessing.slice_spacing is not None:
        raise RecipeError(
            f"{path}.preprocessing.slice_spacing",
            "slices have no distance that the network sees; use null, or set sampling.patch.",
        )


def check_noise(
    noise: Noise, target: Target, preprocessing: Preprocessing, units: str, path: str
) -> None:
    """Refuse noise for images that do not have it, and masks that it hides.

    Args:
        noise: Of the recipe, "none" among its kinds.
        target: Of the recipe.
        preprocessing: Of the recipe.
        units: Of the input.
        path: Of the recipe.
    """
    if not noise.is_added:
        return
    if target.kind != "volume":
        raise RecipeError(
            f"{path}.noise.kind", "noise is learnt to be taken from volumes; use 'none' for labels."
        )
    window = preprocessing.window
    if window is None:
        raise RecipeError(
            f"{path}.preprocessing.window", f"the noise '{noise.kind}' needs the window of images."
        )
    if noise.kind == "poisson" and units != "HU":
        raise RecipeError(
            f"{path}.noise.kind", f"'poisson' is for HU; the input's units are '{units}'."
        )
    if noise.kind == "rician" and window[0] < 0:
        raise RecipeError(
            f"{path}.noise.kind", "'rician' is for MR magnitudes, which are not below 0."
        )
    if preprocessing.mask == "brain":
        raise RecipeError(
            f"{path}.preprocessing.mask",
            "'brain' is what lies in a background of one value, and noise leaves none; use 'none' "
            "or 'body'.",
        )


def check_intensities(preprocessing: Preprocessing, units: str, path: str) -> None:
    """Refuse what is for MR alone on HU, and what is for HU alone elsewhere.

    Args:
        preprocessing: Of the recipe.
        units: Of the input.
        path: Of the preprocessing.
    """
    if preprocessing.body_crop and units != "HU":
        raise RecipeError(
            f"{path}.body_crop",
            f"the body is found by its HU; the input's units are '{units}'.",
        )
    check_standardisation(preprocessing.standardisation, preprocessing.landmarks, units, path)
    if preprocessing.mask != "none" and preprocessing.body_crop:
        raise RecipeError(f"{path}.mask", "body_crop leaves out air and table already; 'none'.")
    if preprocessing.mask == "brain" and units == "HU":
        raise RecipeError(
            f"{path}.mask",
            "'brain' is for MR whose brain was extracted; for HU use 'body' or body_crop.",
        )
    if preprocessing.bias_correction and units == "HU":
        raise RecipeError(f"{path}.bias_correction", "HU have no bias of coils; use false.")


def check_target_scale(
    target: Target, preprocessing: Preprocessing, network: Network, noise: Noise, path: str
) -> None:
    """Refuse a target on a scale of its own where it shares that of its input."""
    if target.standardisation == "none":
        return
    if noise.is_added:
        raise RecipeError(
            f"{path}.standardisation",
            "a clean image has the scale of its noisy one; use 'none' here, and "
            "preprocessing.standardisation.",
        )
    if network.residual and preprocessing.standardisation == "none":
        raise RecipeError(
            f"{path}.standardisation",
            "a residual network's target is on the scale of its input; standardise both or none.",
        )
