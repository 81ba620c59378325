"""Recipe: everything that defines a translation, as data.

A recipe is a JSON document and a tree of frozen dataclasses. A field that a recipe leaves out has
the default written here; an unknown field or an impossible value is refused with its JSON path.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.schema import SchemaError, from_json, limits, read_json, to_json

FORMAT_VERSION = 1
# Directions in which columns, rows and slices grow, so that every slice is seen upright.
PLANES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}

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
# Levels that each network may have.
_LEVELS = {
    "unet": (2, 8),
    "dynunet": (3, 8),
    "basicunet": (5, 5),
    "segresnet": (2, 8),
    "swinunetr": (5, 5),
    "restormer": (2, 8),
}


class RecipeError(SchemaError):
    """A recipe holds something impossible; the message begins with its JSON path."""


@dataclass(frozen=True)
class Code:
    """A coded term, as in DICOM: scheme designator, value and meaning (SCT is SNOMED CT)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One tissue or structure that a model marks.

    `also` lists further values of the training label maps that count as this label; outputs carry
    `value` alone.
    """

    value: int = limits(minimum=1, maximum=254, help="Value in label maps.")
    name: str = limits(help="Name in tables and segmentations.")
    color: tuple[int, int, int] = limits((128, 174, 128), minimum=0, maximum=255, unit="RGB")
    category: Code | None = None
    type: Code | None = None
    region: Code | None = None
    also: tuple[int, ...] = limits((), minimum=1, maximum=255)


@dataclass(frozen=True)
class Input:
    """One image that the model reads."""

    name: str = "image"
    modality: str = limits("other", choices=("CT", "MR", "PET", "US", "other"))
    units: str = limits("", help="Unit of the voxel values, such as HU.")


@dataclass(frozen=True)
class Target:
    """What the model makes of its inputs: a label map or a volume.

    Labels stand for a segmentation and leave `units` and `range` aside; a volume has no labels
    and says the `range` of its values, which the network's output is scaled to.
    """

    kind: str = limits(choices=("labels", "volume"))
    labels: tuple[Label, ...] = ()
    ignore: int | None = limits(
        None,
        minimum=1,
        maximum=255,
        help="Value of label maps that neither teaches nor counts.",
    )
    units: str = ""
    range: tuple[float, float] | None = None

    def validate(self, path: str) -> None:
        """Refuse labels that clash, and a target that mixes the two kinds."""
        if self.kind == "volume":
            if self.labels:
                raise RecipeError(f"{path}.labels", "a target of kind 'volume' has no labels.")
            if self.range is None:
                raise RecipeError(f"{path}.range", "a volume needs its range, [lowest, highest].")
            if self.ignore is not None:
                raise RecipeError(f"{path}.ignore", "only label maps have a value to ignore.")
            _increasing(self.range, f"{path}.range")
            return
        if not self.labels:
            raise RecipeError(f"{path}.labels", "a target of kind 'labels' needs at least one.")
        if self.range is not None:
            raise RecipeError(f"{path}.range", "labels have no range of values.")
        taken: dict[int, str] = {}
        for index, label in enumerate(self.labels):
            place = f"{path}.labels[{index}]"
            for value in (label.value, *label.also):
                if value in taken:
                    raise RecipeError(place, f"the value {value} already means '{taken[value]}'.")
                taken[value] = label.name
            if not label.name.strip():
                raise RecipeError(f"{place}.name", "expected a name, found an empty text.")
        names = [label.name for label in self.labels]
        if len(set(names)) < len(names):
            raise RecipeError(f"{path}.labels", "two labels have the same name.")
        if self.ignore in taken:
            raise RecipeError(
                f"{path}.ignore", f"the value {self.ignore} means '{taken[self.ignore]}' too."
            )


@dataclass(frozen=True)
class Sampling:
    """Which pieces of a volume the network sees: whole slices of one anatomical plane.

    With `context` it sees neighbouring slices as further channels; at the ends of a volume the
    last slice stands for those that are missing.
    """

    plane: str = limits("axial", choices=tuple(PLANES))
    context: int = limits(
        0, minimum=0, maximum=8, help="Neighbouring slices that are seen on each side."
    )
    foreground_weight: float = limits(
        2.0,
        minimum=1,
        maximum=100,
        help="How many times as often as an empty slice one with a label is drawn.",
    )


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a slice before the network sees it, and undone on the output.

    `spacing` is the in-plane pixel size that the network works at, in mm: null leaves every
    slice at its own size; "auto" does so while the pixel sizes of a cohort lie within
    `spacing_tolerance` of their median, and brings those outside to the median; a number is a
    fixed size, kept to within the same tolerance.
    """

    window: tuple[float, float] | None = limits(
        None, help="Intensities mapped to 0 and 1; those outside are clipped. Null: no change."
    )
    spacing: float | str | None = limits("auto", minimum=0.05, maximum=20, unit="mm")
    spacing_tolerance: float = limits(0.25, minimum=0, maximum=4)
    body_crop: bool = limits(
        False, help="Crop to the body (CT in HU): drops air and table, undone on the output."
    )
    body_margin: float = limits(20.0, minimum=0, maximum=200, unit="mm")

    def validate(self, path: str) -> None:
        """Refuse an empty window and a spacing that is a text other than "auto"."""
        if self.window is not None:
            _increasing(self.window, f"{path}.window")
        if isinstance(self.spacing, str) and self.spacing != "auto":
            raise RecipeError(
                f"{path}.spacing", f"expected millimetres, 'auto' or null, found '{self.spacing}'."
            )


@dataclass(frozen=True)
class Network:
    """An architecture and its sizes; the U-Net is that of Ye et al. 2021.

    `blocks` are those of each level of a segresnet (residual) or restormer (transformer), finest
    first; null: as published.
    """

    name: str = limits(
        "unet",
        choices=tuple(_LEVELS),
        help="All but the U-Net are MONAI's; swinunetr and restormer need the package einops.",
    )
    dimension: int = limits(2, minimum=2, maximum=3, help="2 for slices, 3 for volumes.")
    levels: int = limits(
        5, minimum=2, maximum=8, help="Resolutions, the full one included; each halves the size."
    )
    channels: int = limits(
        16, minimum=1, maximum=256, help="After the first convolution; doubled at each level."
    )
    norm: str = limits(
        "none",
        choices=("none", "group", "instance", "batch"),
        help="Between convolutions; a restormer has its own.",
    )
    deep_supervision: bool = limits(
        False, help="Coarser levels have outputs that learn, too (unet, dynunet)."
    )
    residual: bool = limits(
        False, help="Learn the difference to the input; for volumes in the units of the input."
    )
    blocks: tuple[int, ...] | None = limits(None, minimum=1, maximum=16)

    def validate(self, path: str) -> None:
        """Refuse sizes that the architecture cannot have."""
        least, most = _LEVELS[self.name]
        if not least <= self.levels <= most:
            possible = f"{least}" if least == most else f"{least} to {most}"
            raise RecipeError(
                f"{path}.levels", f"a {self.name} has {possible} levels, found {self.levels}."
            )
        multiple = {"swinunetr": 12, "restormer": 2 ** (self.dimension - 1)}.get(self.name, 1)
        if self.channels % multiple:
            raise RecipeError(
                f"{path}.channels",
                f"expected a multiple of {multiple} for a {self.name}, found {self.channels}.",
            )
        if self.norm != "none" and self.name == "restormer":
            raise RecipeError(f"{path}.norm", "a restormer has norms of its own; use 'none'.")
        if self.deep_supervision and self.name not in ("unet", "dynunet"):
            raise RecipeError(
                f"{path}.deep_supervision", f"a {self.name} has no outputs at coarser levels."
            )
        if self.blocks is None:
            return
        if self.name not in ("segresnet", "restormer"):
            raise RecipeError(f"{path}.blocks", f"a {self.name} has no blocks to count; use null.")
        if len(self.blocks) != self.levels:
            raise RecipeError(
                f"{path}.blocks",
                f"expected a number for each of {self.levels} levels, found {len(self.blocks)}.",
            )


@dataclass(frozen=True)
class LossTerm:
    """One loss of a weighted sum."""

    name: str = limits(choices=(*LABEL_LOSSES, *VOLUME_LOSSES))
    weight: float = limits(1.0, minimum=1e-6, maximum=1e6, help="What the loss is multiplied by.")


@dataclass(frozen=True)
class Method:
    """How the network learns.

    `loss` is a name, or a list such as `[{"name": "mae"}, {"name": "gradient_difference",
    "weight": 0.5}]` whose weighted sum is the loss. `coarse_targets` are what the outputs of deep
    supervision are held to. "averaged": the target averaged over a coarse pixel, with weights
    that halve from level to level. "nearest": the target's nearest pixel, with the same weights
    but for the coarsest output, which has none (Isensee et al. 2021, nnU-Net). "full_size": the
    output at a quarter of the size alone is enlarged to the full target, and weighs as much as
    the finest (Ye et al. 2021).
    """

    name: str = limits("supervised", choices=("supervised",), help="From pairs of images.")
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
        """Refuse momentum where there is none."""
        if self.momentum and self.name not in ("rmsprop", "sgd"):
            raise RecipeError(
                f"{path}.momentum", f"{self.name} takes none; use 0, or rmsprop or sgd."
            )


def _chance(default: float) -> Any:
    return limits(default, minimum=0, maximum=1, help="How often it takes part.")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training slices (toolbox of Ye et al. 2021, and more).

    Distances are in pixels of an image `reference_size` pixels wide, and scale with the image;
    those of blur and low resolution are in the pixels that the network sees. A slice is changed
    with `probability`, and each kind then takes part with its own. What acts on intensities
    changes images only, and needs a `window`: it takes 0 for air and 1 for the window's end.
    """

    probability: float = limits(
        1.0, minimum=0, maximum=1, help="How many of the slices are changed at all."
    )
    reference_size: float = limits(
        512.0, minimum=1, unit="px", help="Width of the image that distances are meant for."
    )
    perspective_probability: float = _chance(1.0)
    perspective: float = limits(
        30.0, minimum=0, maximum=200, unit="px", help="How far each corner may move, each way."
    )
    rotation_probability: float = _chance(1.0)
    rotation: float = limits(
        70.0, minimum=0, maximum=180, unit="degrees", help="Largest angle, each way."
    )
    translation_probability: float = _chance(1.0)
    translation: float = limits(
        30.0, minimum=0, maximum=500, unit="px", help="Largest shift, each way."
    )
    flip_left_right: float = limits(0.5, minimum=0, maximum=1, help="How often, 0 to 1.")
    flip_up_down: float = limits(0.5, minimum=0, maximum=1, help="How often, 0 to 1.")
    scale_probability: float = _chance(0.0)
    scale: tuple[float, float] = limits(
        (0.8, 1.25), minimum=0.2, maximum=5, help="Smallest and largest magnification."
    )
    elastic_probability: float = _chance(0.0)
    elastic: float = limits(
        2.0, minimum=0, maximum=100, unit="px", help="Largest shift of a control point, each way."
    )
    elastic_spacing: float = limits(
        7.0, minimum=2, maximum=512, unit="px", help="Distance of the control points."
    )
    bias_field_probability: float = _chance(0.0)
    bias_field: float = limits(
        0.3, minimum=0, maximum=2, help="Largest logarithm of the smooth factor of MR coils."
    )
    brightness_probability: float = _chance(0.0)
    brightness: tuple[float, float] = limits(
        (0.3, 1.5), minimum=0.05, maximum=10, help="Factors of all values; air stays 0."
    )
    contrast_probability: float = _chance(0.0)
    contrast: tuple[float, float] = limits(
        (0.3, 1.5),
        minimum=0.05,
        maximum=10,
        help="Factors of the distance from the mean of what is not air.",
    )
    gamma_probability: float = _chance(0.0)
    gamma: tuple[float, float] = limits(
        (0.7, 1.5), minimum=0.1, maximum=10, help="Exponents of the values."
    )
    blur_probability: float = _chance(0.0)
    blur: tuple[float, float] = limits(
        (0.3, 1.0), minimum=0, maximum=20, unit="px", help="SD of the Gaussian that blurs."
    )
    low_resolution_probability: float = _chance(0.0)
    low_resolution: tuple[float, float] = limits(
        (1.0, 4.0), minimum=1, maximum=20, help="How many times larger pixels become."
    )
    noise_probability: float = _chance(1.0)
    noise_fraction: float = limits(
        0.3, minimum=0, maximum=1, help="Part of the pixels that receive Gaussian noise."
    )
    noise_sd: float = limits(
        0.1, minimum=0, maximum=1, help="Largest standard deviation, as a part of the window."
    )
    poisson_probability: float = _chance(0.0)
    poisson_counts: tuple[float, float] = limits(
        (100.0, 10000.0), minimum=1, maximum=1e7, help="Counts of a pixel at the window's end."
    )
    rician_probability: float = _chance(0.0)
    rician_sd: float = limits(
        0.1,
        minimum=0,
        maximum=1,
        help="Largest SD of either part of the MR signal, as a part of the window.",
    )
    ring_probability: float = _chance(0.0)
    ring_sd: float = limits(
        0.05, minimum=0, maximum=1, help="Largest SD of the rings, as a part of the window."
    )
    streak_probability: float = _chance(0.0)
    streak_sd: float = limits(
        0.05, minimum=0, maximum=1, help="Largest SD of the streaks, as a part of the window."
    )
    dropout_probability: float = _chance(0.0)
    dropout_count: int = limits(
        12, minimum=1, maximum=1000, help="Largest number of rectangles that become air."
    )
    dropout_size: float = limits(
        20.0, minimum=1, maximum=512, unit="px", help="Longest side of such a rectangle."
    )

    def validate(self, path: str) -> None:
        """Refuse ranges that run backwards, and deformations that would fold the image."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and value[0] > value[1]:
                _increasing(value, f"{path}.{field.name}")
        # Choi & Lee 2000: cubic B-splines do not fold below 0.40 of the spacing, in 3D too.
        if self.elastic > 0.4 * self.elastic_spacing:
            raise RecipeError(
                f"{path}.elastic",
                f"{self.elastic:g} px would fold the image: expected at most 0.4 times "
                f"elastic_spacing, {0.4 * self.elastic_spacing:g} px.",
            )

    @property
    def windowed_kinds(self) -> tuple[str, ...]:
        """The kinds that take part and act on values from 0 to 1."""
        kinds = ("bias_field", "brightness", "contrast", "gamma", "poisson", "rician", "ring")
        return tuple(
            kind for kind in (*kinds, "streak") if getattr(self, f"{kind}_probability") > 0
        )


@dataclass(frozen=True)
class Noise:
    """Noise that clean images receive, to learn to take it away.

    With a kind, the cohort's images are clean: each is its own target where none is named, and
    the network reads it with noise. Training draws new noise in every step, after augmentation;
    that of validation is fixed by the seed. Models translate images as they are.
    """

    kind: str = limits(
        "none",
        choices=("none", "pixel-subset", "gaussian", "poisson", "rician", "ring"),
        help="As for the command add-noise.",
    )
    level: float | None = limits(
        None, minimum=0, help="Its meaning depends on the kind, see docs/noise.md; null: default."
    )

    def validate(self, path: str) -> None:
        """Refuse a level that the kind cannot have."""
        if self.level is None:
            return
        most = 1 if self.kind in ("pixel-subset", "poisson") else math.inf
        if self.level > most or (self.kind == "poisson" and self.level == 0):
            span = "above 0 and at most 1" if self.kind == "poisson" else "at most 1"
            raise RecipeError(
                f"{path}.level", f"expected {span} for '{self.kind}', found {self.level:g}."
            )


@dataclass(frozen=True)
class Training:
    """How long and on how much at a time."""

    epochs: int = limits(200, minimum=1, maximum=100_000)
    batch_size: int = limits(1, minimum=1, maximum=1024)
    patience: int | None = limits(
        None, minimum=1, help="Epochs without a better validation before training stops."
    )
    monitor: str = limits("loss", choices=("loss", "dice"))
    ema: float | None = limits(
        None, minimum=0, maximum=0.99999, help="Decay of the moving average of the weights."
    )
    validation_fraction: float = limits(
        0.2, minimum=0.01, maximum=0.9, help="Part of the subjects held out where none is named."
    )
    keep_every: int | None = limits(
        None, minimum=1, help="Weights of every so many epochs are kept, to make models from."
    )
    seed: int = limits(0, minimum=0, maximum=2**31 - 1)


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a translation."""

    name: str
    target: Target
    version: int = limits(FORMAT_VERSION, minimum=1)
    title: str = ""
    description: str = ""
    reference: str = ""
    inputs: tuple[Input, ...] = (Input(),)
    sampling: Sampling = Sampling()
    preprocessing: Preprocessing = Preprocessing()
    network: Network = Network()
    method: Method = Method()
    optimizer: Optimizer = Optimizer()
    augmentation: Augmentation = Augmentation()
    noise: Noise = Noise()
    training: Training = Training()

    def validate(self, path: str) -> None:
        """Refuse what each part allows but the whole does not."""
        if self.version != FORMAT_VERSION:
            raise RecipeError(
                f"{path}.version",
                f"this DeepTranslate reads recipes of version {FORMAT_VERSION}, found "
                f"{self.version}. Update DeepTranslate to use it.",
            )
        if len(self.inputs) != 1:
            raise RecipeError(
                f"{path}.inputs", f"expected exactly one input, found {len(self.inputs)}."
            )
        self._validate_losses(f"{path}.method.loss")
        self._validate_network(f"{path}.network")
        if self.optimizer.warmup_epochs >= self.training.epochs:
            raise RecipeError(
                f"{path}.optimizer.warmup_epochs",
                f"expected fewer than the {self.training.epochs} epochs of training, found "
                f"{self.optimizer.warmup_epochs}.",
            )
        if self.training.monitor == "dice" and self.target.kind != "labels":
            raise RecipeError(f"{path}.training.monitor", "a volume has no Dice; use 'loss'.")
        if self.augmentation.windowed_kinds and self.preprocessing.window is None:
            raise RecipeError(
                f"{path}.preprocessing.window",
                f"augmentation by {self.augmentation.windowed_kinds[0]} needs a window, since it "
                "takes 0 for air and 1 for the window's end.",
            )
        self._validate_noise(path)
        if self.preprocessing.body_crop and self.inputs[0].units != "HU":
            raise RecipeError(
                f"{path}.preprocessing.body_crop",
                f"the body is found by its HU; the input's units are '{self.inputs[0].units}'.",
            )

    def _validate_noise(self, path: str) -> None:
        kind = self.noise.kind
        if not self.is_denoising:
            return
        if self.target.kind != "volume":
            raise RecipeError(
                f"{path}.noise.kind",
                "noise is learnt to be taken from volumes; use 'none' for labels.",
            )
        if self.preprocessing.window is None:
            raise RecipeError(
                f"{path}.preprocessing.window", f"the noise '{kind}' needs the window of images."
            )
        if kind == "poisson" and self.inputs[0].units != "HU":
            raise RecipeError(
                f"{path}.noise.kind",
                f"'poisson' is for HU; the input's units are '{self.inputs[0].units}'.",
            )
        if kind == "rician" and self.preprocessing.window[0] < 0:
            raise RecipeError(
                f"{path}.noise.kind", "'rician' is for MR magnitudes, which are not below 0."
            )

    def _validate_losses(self, path: str) -> None:
        kind = self.target.kind
        possible = LABEL_LOSSES if kind == "labels" else VOLUME_LOSSES
        for index, term in enumerate(self.method.losses):
            if term.name not in possible:
                place = path if isinstance(self.method.loss, str) else f"{path}[{index}].name"
                raise RecipeError(
                    place,
                    f"'{term.name}' does not fit a target of kind '{kind}'. "
                    f"Possible: {', '.join(possible)}.",
                )

    def _validate_network(self, path: str) -> None:
        network = self.network
        if network.dimension != 2:
            raise RecipeError(
                f"{path}.dimension",
                "samples are slices, which a network of dimension 2 reads; for what lies before "
                "and behind them set sampling.context.",
            )
        quarter = network.deep_supervision and self.method.coarse_targets == "full_size"
        if quarter and network.levels < 4:
            raise RecipeError(
                f"{path}.levels",
                "expected at least 4 for an output at a quarter of the size "
                f"(method.coarse_targets is 'full_size'), found {network.levels}.",
            )
        if not network.residual:
            return
        if self.target.kind != "volume":
            raise RecipeError(f"{path}.residual", "labels are no difference to the input.")
        if self.inputs[0].units != self.target.units:
            raise RecipeError(
                f"{path}.residual",
                f"the input's units are '{self.inputs[0].units}', the target's are "
                f"'{self.target.units}'; only values in the same units have a difference.",
            )

    @property
    def input_channels(self) -> int:
        """Channels of the network's input: each input with its neighbours on both sides."""
        return len(self.inputs) * (1 + 2 * self.sampling.context)

    @property
    def is_denoising(self) -> bool:
        """Noisy inputs are made from clean images."""
        return self.noise.kind != "none"

    @property
    def output_channels(self) -> int:
        """Channels of the network's output: one per label, or one for a volume."""
        return max(1, len(self.target.labels))

    def with_training(self, **changes: Any) -> Recipe:
        """The recipe with fields of `training` replaced (seed, epochs, ...), checked again.

        Raises:
            RecipeError: A new value has the wrong type or is impossible.
        """
        recipe = dataclasses.replace(self, training=dataclasses.replace(self.training, **changes))
        return recipe_from_json(to_json(recipe))


def recipe_from_json(value: Any) -> Recipe:
    """Recipe of decoded JSON.

    Raises:
        RecipeError: With the JSON path of the fault.
    """
    try:
        return from_json(Recipe, value)
    except RecipeError:
        raise
    except SchemaError as error:
        raise RecipeError(error.path, str(error).removeprefix(f"{error.path}: ")) from error


def write_recipe(recipe: Recipe, path: str | Path) -> None:
    """Write a recipe as JSON, atomically, with every default spelled out.

    Raises:
        RecipeError: The recipe, made in Python, holds something that could not be read again.
        OSError: The file cannot be written.
    """
    recipe = recipe_from_json(to_json(recipe))
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(to_json(recipe), indent=2) + "\n", encoding="utf-8")


def builtin_recipes() -> dict[str, Path]:
    """Names of the built-in recipes and the files they are read from."""
    beside_package = Path(__file__).resolve().parent
    for folder in (beside_package.parent / "Resources" / "Recipes", beside_package / "Recipes"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.json"))}
    return {}


def read_recipe(name_or_file: str | Path) -> Recipe:
    """Read a built-in recipe by name, or a recipe file.

    Raises:
        RecipeError: There is no such recipe, or it holds something impossible.
        OSError: The file may not be opened.
    """
    known = builtin_recipes()
    path = known.get(str(name_or_file), Path(name_or_file))
    if not os.path.isfile(path):  # False, not an error, for names that no system takes
        raise RecipeError(
            "$",
            f"there is no recipe '{name_or_file}'. Give a JSON file, or one of the built-in "
            f"recipes: {', '.join(known) or 'none found'}.",
        )
    try:
        return recipe_from_json(read_json(path, "recipe"))
    except RecipeError:
        raise
    except SchemaError as error:
        raise RecipeError(error.path, str(error).removeprefix(f"{error.path}: ")) from error


def _increasing(values: tuple[float, float], path: str) -> None:
    if not values[0] < values[1]:
        raise RecipeError(
            path, f"expected [lowest, highest], found [{values[0]:g}, {values[1]:g}]."
        )
