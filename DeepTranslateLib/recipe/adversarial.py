"""How networks learn from a discriminator, and what holds a translated image to its input."""

from __future__ import annotations

import re
from dataclasses import dataclass

from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.schema import limits


@dataclass(frozen=True)
class Adversarial:
    """The discriminator, and the losses that it and the generator learn by.

    The objective is the least squares of Mao et al. 2017 ("lsgan"), cross-entropy with the
    generator's non-saturating form of Goodfellow et al. 2014 ("bce"), the hinge of Lim & Ye 2017
    ("hinge"), or Wasserstein's with the gradient penalty of Gulrajani et al. 2017 ("wgan_gp").
    The discriminator judges overlapping patches (Isola et al. 2017): with 3 layers 70x70 pixels.
    """

    objective: str = limits(
        "lsgan",
        choices=("lsgan", "bce", "hinge", "wgan_gp"),
        help="What tells true from translated images.",
    )
    weight: float = limits(1.0, minimum=0, maximum=1e6, help="Of the generator's adversarial loss.")
    gradient_penalty: float = limits(
        10.0, minimum=0, maximum=1e6, help="Weight of the discriminator's; wgan_gp alone."
    )
    discriminator_channels: int = limits(
        64, minimum=1, maximum=256, help="After the discriminator's first convolution."
    )
    discriminator_layers: int = limits(
        3, minimum=1, maximum=5, help="That halve the size; 3 see 70x70 pixels at a time."
    )
    discriminator_norm: str = limits(
        "instance",
        choices=("none", "group", "instance", "batch"),
        help="Between the discriminator's convolutions.",
    )
    spectral_norm: bool = limits(
        False, help="Bound the discriminator's slope (Miyato et al. 2018)."
    )
    discriminator_rate: float | None = limits(
        None,
        minimum=1e-8,
        maximum=1,
        help="Learning rate of the discriminator; null: the optimizer's.",
    )
    discriminator_warmup_epochs: int = limits(
        0, minimum=0, maximum=10_000, help="First epochs in which the discriminator alone learns."
    )
    generator_steps: int = limits(
        1, minimum=1, maximum=100, help="Steps of the generator for one of the discriminator."
    )
    discriminator_steps: int = limits(
        1, minimum=1, maximum=100, help="Steps of the discriminator for one of the generator."
    )
    label_jitter: float = limits(
        0.0,
        minimum=0,
        maximum=0.5,
        help="How far the discriminator's labels are moved at random from 0 and 1.",
    )
    pool: int = limits(
        50,
        minimum=0,
        maximum=10_000,
        help="Earlier translated images that the discriminator is shown again; 0: none.",
    )
    mispair_weight: float = limits(
        0.0,
        minimum=0,
        maximum=1e6,
        help="Of true images beside another's input, which a discriminator of pairs must refuse.",
    )
    identity_weight: float = limits(
        0.0,
        minimum=0,
        maximum=1e6,
        help="Of leaving an image as it is that is of the target's kind already.",
    )
    kl_weight: float = limits(
        0.01, minimum=0, maximum=1e6, help="Of the latent's distance to a unit Gaussian."
    )

    def validate(self, path: str) -> None:
        """Refuse that each side waits for the other."""
        if self.generator_steps > 1 and self.discriminator_steps > 1:
            raise RecipeError(
                f"{path}.discriminator_steps",
                f"expected 1, since generator_steps is {self.generator_steps} and one side learns "
                f"in each step; found {self.discriminator_steps}. Leave one of both at 1: "
                "discriminator_steps where the generator should learn more often, generator_steps "
                "where the discriminator should.",
            )


@dataclass(frozen=True)
class Structure:
    """What holds a translated image to its input besides the way back.

    Terms with a weight of 0 are left out. `features` is a model of DeepTranslate (.dtmodel) whose
    network has an encoder, which is used, or a file of VGG-16 weights (.safetensors);
    `segmentor` a model that labels images of both kinds or, where there is a `target_segmentor`,
    those of the source, and that the others. Each is a local file that must have the SHA-256 named
    here, so that a recipe says what it learns by.
    """

    perceptual_weight: float = limits(
        0.0, minimum=0, maximum=1e6, help="Of differences in features of input and output."
    )
    latent_weight: float = limits(
        0.0, minimum=0, maximum=1e6, help="Of an image's way through the latent and back."
    )
    air_weight: float = limits(
        0.0, minimum=0, maximum=1e6, help="Of air that becomes tissue or the other way round."
    )
    air_threshold: float = limits(
        -600.0, minimum=-1024, maximum=3071, unit="HU", help="Below is air."
    )
    gradient_weight: float = limits(
        0.0, minimum=0, maximum=1e6, help="Of edges that lie elsewhere (Hiasa et al. 2018)."
    )
    shape_weight: float = limits(
        0.0, minimum=0, maximum=1e6, help="Of labels that differ (Zhang et al. 2018)."
    )
    features: str = limits(
        "",
        suffixes=(".dtmodel", ".safetensors"),
        help="File of the network that perceptual features are of.",
    )
    features_sha256: str = limits("", help="Of that file.")
    features_level: int = limits(
        2, minimum=0, maximum=7, help="Of the features, 0 the finest that the network has."
    )
    segmentor: str = limits(
        "", suffixes=(".dtmodel",), help="File of the model that labels both images."
    )
    segmentor_sha256: str = limits("", help="Of that file.")
    target_segmentor: str = limits(
        "",
        suffixes=(".dtmodel",),
        help="File of the model that labels images of the target instead.",
    )
    target_segmentor_sha256: str = limits("", help="Of that file.")

    def validate(self, path: str) -> None:
        """Refuse a term without its network, and a network without its checksum."""
        for term, file in (("perceptual", "features"), ("shape", "segmentor")):
            if getattr(self, f"{term}_weight") and not getattr(self, file):
                raise RecipeError(
                    f"{path}.{file}", f"expected a file, since {term}_weight is not 0."
                )
        if self.target_segmentor_sha256 and not self.target_segmentor:
            raise RecipeError(
                f"{path}.target_segmentor_sha256",
                "expected the file that it is of as target_segmentor; name it, or leave both out.",
            )
        for file in ("features", "segmentor", "target_segmentor"):
            named = getattr(self, file)
            if named and not re.fullmatch("[0-9a-f]{64}", getattr(self, f"{file}_sha256")):
                raise RecipeError(
                    f"{path}.{file}_sha256",
                    f"expected the 64 hexadecimal digits of the SHA-256 of {named}.",
                )


@dataclass(frozen=True)
class Contrast:
    """Features at the same place of input and output, told from those elsewhere (CUT).

    Park et al. 2020, equations 2 and 3. `layers` are those of the generator's encoder whose
    features are compared, 0 being the image itself; null: it, each halving, and the first and the
    middle block.
    """

    weight: float = limits(1.0, minimum=0, maximum=1e6, help="Of the contrastive loss.")
    patches: int = limits(256, minimum=2, maximum=4096, help="Places compared in each layer.")
    temperature: float = limits(0.07, minimum=1e-3, maximum=10, help="The lower, the stricter.")
    layers: tuple[int, ...] | None = limits(
        None, minimum=0, maximum=64, help="Of the encoder; null: as published."
    )
