"""The ways to train: which parts of a recipe each reads, and what each asks of the others."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from DeepTranslateLib.recipe.adversarial import Adversarial, Contrast, Structure
from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.recipe.learning import METHODS, UNPAIRED_MONITORS, Method

if TYPE_CHECKING:
    from DeepTranslateLib.recipe.whole import Recipe

UNPAIRED = ("cyclegan", "unit", "cut")
TWO_WAYS = ("cyclegan", "unit")

_DISCRIMINATOR = (
    "discriminator_channels",
    "discriminator_layers",
    "discriminator_norm",
    "spectral_norm",
)
_GAME = (
    "objective",
    "weight",
    "gradient_penalty",
    "discriminator_rate",
    "discriminator_warmup_epochs",
    "generator_steps",
    "discriminator_steps",
    "label_jitter",
    "pool",
)
_FEATURES = ("perceptual_weight", "features", "features_sha256", "features_level")
# Fields of `structure` that a term reads, by the weight of that term.
_OF_TERM = {
    "air_weight": ("air_threshold",),
    "perceptual_weight": _FEATURES[1:],
    "shape_weight": (
        "segmentor",
        "segmentor_sha256",
        "target_segmentor",
        "target_segmentor_sha256",
    ),
}
# Fields of these parts that a method reads; the others must be left as they are.
_READ: dict[str, dict[str, tuple[str, ...]]] = {
    "supervised": {"method": ("loss", "coarse_targets")},
    "pix2pix": {
        "method": ("loss",),
        "adversarial": (*_GAME, *_DISCRIMINATOR, "mispair_weight"),
        "structure": _FEATURES,
    },
    "cyclegan": {
        "method": ("loss",),
        "adversarial": (*_GAME, *_DISCRIMINATOR, "identity_weight"),
        "structure": tuple(field.name for field in dataclasses.fields(Structure)),
    },
    "unit": {"method": ("loss",), "adversarial": (*_GAME, *_DISCRIMINATOR, "kl_weight")},
    "cut": {
        "adversarial": (*_GAME, *_DISCRIMINATOR, "identity_weight"),
        "contrast": tuple(field.name for field in dataclasses.fields(Contrast)),
    },
    "context_gan": {
        "method": ("loss", "auto_context"),
        # Its discriminator has batch norm, with which there is no gradient penalty.
        "adversarial": tuple(field for field in _GAME if field != "gradient_penalty"),
    },
}
_PARTS: dict[str, type[Any]] = {
    "method": Method,
    "adversarial": Adversarial,
    "structure": Structure,
    "contrast": Contrast,
}


def is_read(method: str, part: str, field: str) -> bool:
    """Whether a method reads a field of a recipe's part; of other parts any reads all.

    Args:
        method: One of `METHODS`.
        part: Such as "adversarial".
        field: Such as "pool".
    """
    if part not in _PARTS or (part, field) == ("method", "name"):
        return True
    return field in _READ[method].get(part, ())


def least_patch(recipe: Recipe) -> int:
    """Voxels that a patch needs along each axis for the recipe's discriminator; 1 without one."""
    if recipe.method.name == "supervised":
        return 1
    if recipe.method.name == "context_gan":
        return 16
    return 3 * int(2**recipe.adversarial.discriminator_layers)


def check_method(recipe: Recipe, path: str) -> None:
    """Refuse what the recipe's method does not read, or cannot learn.

    Args:
        recipe: Whole.
        path: Of the recipe.
    """
    name = recipe.method.name
    for part, cls in _PARTS.items():
        values = getattr(recipe, part)
        for field in dataclasses.fields(cls):
            changed = getattr(values, field.name) != field.default
            if changed and not is_read(name, part, field.name):
                readers = [other for other in METHODS if is_read(other, part, field.name)]
                raise RecipeError(
                    f"{path}.{part}.{field.name}",
                    f"the method '{name}' does not read it; leave it out, or use "
                    f"{' or '.join(readers)}.",
                )
    network = recipe.network.name
    if (network == "unit") != (name == "unit"):
        raise RecipeError(
            f"{path}.network.name",
            f"the method 'unit' and the network 'unit' belong together, found '{name}' and "
            f"'{network}'.",
        )
    if name == "supervised":
        return
    if recipe.target.kind != "volume":
        raise RecipeError(
            f"{path}.method.name", f"'{name}' makes volumes; use 'supervised' for labels."
        )
    if recipe.network.deep_supervision:
        raise RecipeError(
            f"{path}.network.deep_supervision", f"'{name}' judges the finest output alone; false."
        )
    if name == "cut" and network != "resnet":
        raise RecipeError(
            f"{path}.network.name",
            f"'cut' compares features within a 'resnet', found '{network}'.",
        )
    if name == "cut":
        _check_layers(recipe, path)
    if recipe.network.residual and (name == "cut" or recipe.structure.latent_weight):
        raise RecipeError(
            f"{path}.network.residual",
            "features and latent are of a network that makes images, not differences; use false.",
        )
    if name == "context_gan" and recipe.network.dimension != 3:
        raise RecipeError(
            f"{path}.network.dimension", "'context_gan' learns from patches: 3, and sampling.patch."
        )
    if recipe.noise.is_added:
        raise RecipeError(f"{path}.noise.kind", f"'{name}' takes images as they are; use 'none'.")
    _check_objective(recipe, path)
    _check_terms(recipe, path)
    _check_patch(recipe, path)
    if recipe.structure.latent_weight and network != "resnet":
        raise RecipeError(
            f"{path}.structure.latent_weight",
            f"a {network} has ways round its latent; use a 'resnet', or 0.",
        )
    if name in UNPAIRED:
        _check_unpaired(recipe, path)


def _check_objective(recipe: Recipe, path: str) -> None:
    settings = recipe.adversarial
    if settings.objective != "wgan_gp" and (
        settings.gradient_penalty != Adversarial().gradient_penalty
    ):
        raise RecipeError(
            f"{path}.adversarial.gradient_penalty",
            f"'{settings.objective}' has none; leave it out, or use the objective wgan_gp.",
        )
    if settings.label_jitter and settings.objective not in ("lsgan", "bce"):
        raise RecipeError(
            f"{path}.adversarial.label_jitter",
            f"'{settings.objective}' has no labels; use lsgan or bce, or 0.",
        )
    if settings.objective == "wgan_gp" and (
        settings.discriminator_norm == "batch" or recipe.method.name == "context_gan"
    ):
        raise RecipeError(
            f"{path}.adversarial.objective",
            "the gradient penalty is of each image by itself, which batch norm mixes; use another "
            "norm in the discriminator, or another objective.",
        )
    if settings.mispair_weight and recipe.training.batch_size == 1:
        raise RecipeError(
            f"{path}.adversarial.mispair_weight",
            "in a batch of 1 there is no other case's input; use 0, or training.batch_size of 2 or "
            "more.",
        )


def _check_terms(recipe: Recipe, path: str) -> None:
    """Refuse what a term of `structure` would read that is left out."""
    settings, untouched = recipe.structure, Structure()
    for weight, fields in _OF_TERM.items():
        for field in fields:
            if getattr(settings, weight) or getattr(settings, field) == getattr(untouched, field):
                continue
            raise RecipeError(
                f"{path}.structure.{field}",
                f"nothing reads it, since {weight} is 0; leave it out, or give {weight}.",
            )


def _check_layers(recipe: Recipe, path: str) -> None:
    # As `engine.networks.resnet` counts them: the image, each level, each block.
    (blocks,) = recipe.network.blocks or (9,)
    last = recipe.network.levels + blocks
    beyond = [layer for layer in recipe.contrast.layers or () if layer > last]
    if beyond or recipe.contrast.layers == ():
        raise RecipeError(
            f"{path}.contrast.layers",
            f"expected some of 0 to {last}, the layers of the generator's encoder, or null; found "
            f"{list(recipe.contrast.layers or ())}.",
        )


def _check_patch(recipe: Recipe, path: str) -> None:
    patch, least = recipe.sampling.patch, least_patch(recipe)
    # As `engine.discriminators` refuses them, which would be after images were prepared.
    if patch is not None and min(patch) < least:
        layers = ", or fewer adversarial.discriminator_layers"
        raise RecipeError(
            f"{path}.sampling.patch",
            f"the discriminator needs patches of at least {least} voxels along each axis, found "
            f"{' x '.join(map(str, patch))}; use larger patches"
            f"{'' if recipe.method.name == 'context_gan' else layers}.",
        )


def _check_unpaired(recipe: Recipe, path: str) -> None:
    name = recipe.method.name
    if recipe.sampling.context or recipe.sampling.fusion:
        field = "context" if recipe.sampling.context else "fusion"
        raise RecipeError(
            f"{path}.sampling.{field}",
            f"'{name}' sends slices both ways, one by one; set {field} to its default.",
        )
    if recipe.preprocessing.window is None:
        raise RecipeError(
            f"{path}.preprocessing.window",
            f"'{name}' needs one, since it makes images of the input's kind, too.",
        )
    if recipe.training.monitor not in UNPAIRED_MONITORS:
        raise RecipeError(
            f"{path}.training.monitor",
            f"without pairs nothing tells how good an epoch is by '{recipe.training.monitor}'; "
            "use 'last', or 'histogram_distance'.",
        )
    air = recipe.structure.air_weight
    if air and not (recipe.inputs[0].units == recipe.target.units == "HU"):
        raise RecipeError(
            f"{path}.structure.air_weight",
            'air has a known value in HU alone, on both sides; use 0, or say "units": "HU" of '
            "input and target where both are CT.",
        )
    windows = (recipe.preprocessing.window, recipe.target.range)
    threshold = recipe.structure.air_threshold
    if air and not all(window and window[0] <= threshold < window[1] for window in windows):
        raise RecipeError(
            f"{path}.structure.air_threshold",
            f"expected a value within preprocessing.window and target.range, found {threshold:g} "
            "HU: beyond their ends air cannot be told from other values.",
        )
