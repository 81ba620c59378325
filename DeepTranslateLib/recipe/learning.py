"""How a network learns: losses, optimizer, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.schema import limits

METHODS = ("supervised", "pix2pix", "cyclegan", "unit", "cut", "context_gan")
PAIRED = ("supervised", "pix2pix", "context_gan")

LABEL_LOSSES = (
    "binary_cross_entropy",
    "cross_entropy",
    "sparse_cross_entropy",
    "dice",
    "dice_binary_cross_entropy",
    "dice_cross_entropy",
    "focal",
    "tversky",
)


VOLUME_LOSSES = (
    "mse",
    "mae",
    "charbonnier",
    "ssim",
    "ms_ssim",
    "gradient_difference",
    "total_variation",
)

# What epochs can be compared by.
LAST = "last"
LABEL_MONITORS = ("loss", "dice", "sensitivity", "specificity", "fractional_area_difference")
VOLUME_MONITORS = ("loss", "mae", "rmse", "psnr", "ssim", "ms_ssim")
# Without pairs.
UNPAIRED_MONITORS = (LAST, "histogram_distance")

# Fields of training that may change when a training goes on.
CHANGEABLE = ("epochs", "patience", "keep_every", "preview_every")


@dataclass(frozen=True)
class LossTerm:
    """One loss of a weighted sum."""

    name: str = limits(choices=(*LABEL_LOSSES, *VOLUME_LOSSES))
    weight: float = limits(1.0, minimum=1e-6, maximum=1e6, help="What the loss is multiplied by.")


@dataclass(frozen=True)
class Method:
    """How the networks learn.

    "supervised": one network, from pairs. "pix2pix": it has a discriminator of pairs (Isola et
    al. 2017). "context_gan": the same in 3D patches, with a discriminator of patches (Nie et al.
    2018). From images that are not paired: "cyclegan" (Zhu et al. 2017), "unit" (Liu et al. 2017)
    and "cut" (Park et al. 2020).

    With "cyclegan" and "unit" `loss` is what an image must be like that has gone to the other
    side and back; "cut" has none. `auto_context` is how many further networks learn from the
    input beside what the network before them made of it (Nie et al. 2018, III-D).

    `loss` is a name, or a list such as `[{"name": "mae"}, {"name": "gradient_difference",
    "weight": 0.5}]` whose weighted sum is the loss. `coarse_targets` are what the outputs of deep
    supervision are held to. "averaged": the target averaged over a coarse pixel, with weights
    that halve from level to level. "nearest": the target's nearest pixel, with the same weights
    but for the coarsest output, which has none (Isensee et al. 2021, nnU-Net). "full_size": the
    output at a quarter of the size alone is enlarged to the full target, and weighs as much as
    the finest (Ye et al. 2021).
    """

    name: str = limits(
        "supervised",
        choices=METHODS,
        help="From pairs of images the first two and the last; from unpaired ones the others.",
    )
    loss: str | tuple[LossTerm, ...] = limits(
        "binary_cross_entropy",
        choices=(*LABEL_LOSSES, *VOLUME_LOSSES),
        help="For labels the first eight; for volumes the others.",
    )
    coarse_targets: str = limits(
        "averaged",
        choices=("averaged", "nearest", "full_size"),
        help="Of deep supervision: averages, nearest pixels (nnU-Net), or all (Ye et al. 2021).",
    )
    auto_context: int = limits(
        0, minimum=0, maximum=4, help="Further stages that see the output of the one before."
    )

    @property
    def losses(self) -> tuple[LossTerm, ...]:
        """The loss as a weighted sum, also where it is a single name."""
        return (LossTerm(self.loss, 1.0),) if isinstance(self.loss, str) else self.loss

    def validate(self, path: str) -> None:
        """Refuse a loss that no target enters."""
        if not self.losses:
            raise RecipeError(f"{path}.loss", "a weighted sum needs at least one loss.")
        if all(term.name == "total_variation" for term in self.losses):
            raise RecipeError(
                f"{path}.loss",
                "'total_variation' knows no target; add another loss to it in a list.",
            )


@dataclass(frozen=True)
class Optimizer:
    """How the weights follow the gradient, and the learning rate over the epochs.

    After `warmup_epochs`, in which the rate rises in equal steps, it stays ("constant"), falls as
    (1 - t)^0.9 ("poly"), as half a cosine ("cosine"; Loshchilov & Hutter 2017), or stays for the
    first half and then falls in a line ("linear"); t goes from 0 to 1 over the other epochs.
    """

    name: str = limits(
        "adam",
        choices=("adam", "adamw", "rmsprop", "sgd", "adagrad", "adadelta"),
        help="sgd with momentum is Nesterov's; adamw takes weight decay apart from the gradient.",
    )
    learning_rate: float = limits(1e-3, minimum=1e-8, maximum=1, help="Of the first full epoch.")
    momentum: float = limits(0.0, minimum=0, maximum=0.9999, help="Of rmsprop and sgd.")
    beta1: float = limits(
        0.9, minimum=0, maximum=0.9999, help="Decay of the mean gradient of adam and adamw."
    )
    weight_decay: float = limits(
        0.0, minimum=0, maximum=1, help="How much weights are drawn towards 0."
    )
    schedule: str = limits(
        "constant",
        choices=("constant", "poly", "cosine", "linear"),
        help="How the learning rate goes on; linear falls in the second half.",
    )
    warmup_epochs: int = limits(
        0, minimum=0, maximum=10_000, help="In which the learning rate rises to its full value."
    )
    gradient_clip: float | None = limits(None, minimum=1e-6, help="Largest norm of the gradient.")

    def validate(self, path: str) -> None:
        """Refuse momentum and means of gradients where there are none."""
        if self.beta1 != 0.9 and self.name not in ("adam", "adamw"):
            raise RecipeError(f"{path}.beta1", f"{self.name} has none; leave it out, or use adam.")
        if self.momentum and self.name not in ("rmsprop", "sgd"):
            raise RecipeError(
                f"{path}.momentum", f"{self.name} takes none; use 0, or rmsprop or sgd."
            )


@dataclass(frozen=True)
class Training:
    """How long and on how much at a time."""

    epochs: int = limits(200, minimum=1, maximum=100_000)
    batch_size: int = limits(1, minimum=1, maximum=1024)
    patience: int | None = limits(
        None, minimum=1, help="Epochs without a better validation before training stops."
    )
    monitor: str = limits(
        "loss",
        choices=(*LABEL_MONITORS, *VOLUME_MONITORS[1:], *UNPAIRED_MONITORS),
        help="What tells the best epoch; last: none does. From mae on for volumes.",
    )
    ema: float | None = limits(
        None, minimum=0, maximum=0.99999, help="Decay of the moving average of the weights."
    )
    validation_fraction: float = limits(
        0.2, minimum=0.01, maximum=0.9, help="Part of the subjects held out where none is named."
    )
    keep_every: int | None = limits(
        None, minimum=1, help="Weights of every so many epochs are kept, to make models from."
    )
    preview_every: int | None = limits(
        None, minimum=1, help="Every so many epochs a preview, all kept; null: as time allows."
    )
    frozen: str = limits(
        "none",
        choices=("none", "encoder"),
        help="What keeps the initial model's weights: with the encoder the decoder alone learns.",
    )
    frozen_epochs: int | None = limits(
        None, minimum=1, help="Epochs after which what is frozen learns, too; null: never."
    )
    seed: int = limits(0, minimum=0, maximum=2**31 - 1)

    def validate(self, path: str) -> None:
        """Refuse a time for which nothing is frozen, and waiting for what is always better."""
        if self.monitor == LAST and self.patience is not None:
            raise RecipeError(
                f"{path}.patience", "the last epoch is always the best by 'last'; use null."
            )
        if self.frozen == "none" and self.frozen_epochs is not None:
            raise RecipeError(
                f"{path}.frozen_epochs", "nothing is frozen; use null, or set training.frozen."
            )
