"""Recipe: the parts together, and what each part allows but the whole does not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from DeepTranslateLib.recipe.augmentation import Augmentation, Noise
from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.recipe.images import Input, Target
from DeepTranslateLib.recipe.intensities import check_standardisation
from DeepTranslateLib.recipe.learning import (
    LABEL_LOSSES,
    LABEL_MONITORS,
    VOLUME_LOSSES,
    VOLUME_MONITORS,
    Method,
    Optimizer,
    Training,
)
from DeepTranslateLib.recipe.network import WITH_ENCODER, Network
from DeepTranslateLib.recipe.sampling import Preprocessing, Sampling
from DeepTranslateLib.schema import SchemaError, from_json, limits, to_json

FORMAT_VERSION = 1
AS_WRITTEN, FROM_COHORT = "as written", "from cohort"


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a translation.

    A recipe that says `configure: "from cohort"` leaves things open: labels, and all fields that
    are chosen from images and are at their defaults. `configuration.configured` chooses them for a
    cohort; before, no network can be made of it.
    """

    name: str
    target: Target
    version: int = limits(FORMAT_VERSION, minimum=1)
    configure: str = limits(
        AS_WRITTEN,
        choices=(AS_WRITTEN, FROM_COHORT),
        help="From the cohort: fields at their defaults are chosen from the images to learn from.",
    )
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
        if self.target.kind == "labels" and not self.target.labels and self.is_configured:
            raise RecipeError(
                f"{path}.target.labels",
                "a target of kind 'labels' needs at least one, unless the recipe's 'configure' is "
                f"'{FROM_COHORT}'.",
            )
        self._validate_losses(f"{path}.method.loss")
        self._validate_network(f"{path}.network")
        if self.optimizer.warmup_epochs >= self.training.epochs:
            raise RecipeError(
                f"{path}.optimizer.warmup_epochs",
                f"expected fewer than the {self.training.epochs} epochs of training, found "
                f"{self.optimizer.warmup_epochs}.",
            )
        self._validate_monitor(f"{path}.training.monitor")
        if self.training.frozen == "encoder" and self.network.name not in WITH_ENCODER:
            raise RecipeError(
                f"{path}.training.frozen",
                f"a {self.network.name} has no encoder that can be frozen. Possible with "
                f"{', '.join(WITH_ENCODER)}.",
            )
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
        self._validate_intensities(path)

    def _validate_intensities(self, path: str) -> None:
        preprocessing, units = self.preprocessing, self.inputs[0].units
        check_standardisation(
            preprocessing.standardisation,
            preprocessing.landmarks,
            units,
            f"{path}.preprocessing",
        )
        if preprocessing.mask != "none" and preprocessing.body_crop:
            raise RecipeError(
                f"{path}.preprocessing.mask", "body_crop leaves out air and table already; 'none'."
            )
        if preprocessing.mask == "brain" and units == "HU":
            raise RecipeError(
                f"{path}.preprocessing.mask",
                "'brain' is for MR whose brain was extracted; for HU use 'body' or body_crop.",
            )
        if preprocessing.bias_correction and units == "HU":
            raise RecipeError(
                f"{path}.preprocessing.bias_correction", "HU have no bias of coils; use false."
            )
        if self.target.standardisation == "none":
            return
        if self.is_denoising:
            raise RecipeError(
                f"{path}.target.standardisation",
                "a clean image has the scale of its noisy one; use 'none' here, and "
                "preprocessing.standardisation.",
            )
        if self.network.residual and preprocessing.standardisation == "none":
            raise RecipeError(
                f"{path}.target.standardisation",
                "a residual network's target is on the scale of its input; standardise both or "
                "none.",
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

    def _validate_monitor(self, path: str) -> None:
        kind, monitor = self.target.kind, self.training.monitor
        possible = LABEL_MONITORS if kind == "labels" else VOLUME_MONITORS
        if monitor not in possible:
            raise RecipeError(
                path,
                f"'{monitor}' does not fit a target of kind '{kind}'. "
                f"Possible: {', '.join(possible)}.",
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
        self._validate_dimension(path)
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

    def _validate_dimension(self, path: str) -> None:
        network, patch = self.network, self.sampling.patch
        dimension = network.dimension
        if dimension == 2 and patch is not None:
            raise RecipeError(
                f"{path}.dimension", "patches are read by a network of dimension 3, found 2."
            )
        if dimension == 3 and patch is None:
            raise RecipeError(
                f"{path}.dimension",
                "samples are slices, which a network of dimension 2 reads; set sampling.patch for "
                "one of 3, or sampling.context for what lies before and behind a slice.",
            )
        if patch is not None and network.norm in ("instance", "batch"):
            coarsest = 2 ** (network.levels - 1)
            if max(patch) <= coarsest:
                raise RecipeError(
                    f"{path}.norm",
                    f"after {network.levels} levels a patch of {' x '.join(map(str, patch))} is a "
                    f"single voxel, which '{network.norm}' cannot take a variance of; use fewer "
                    "levels, a larger patch, or 'group'.",
                )
        if patch is None and self.preprocessing.slice_spacing is not None:
            raise RecipeError(
                f"{path.removesuffix('network')}preprocessing.slice_spacing",
                "slices have no distance that the network sees; use null, or set sampling.patch.",
            )

    @property
    def is_volumetric(self) -> bool:
        """The network sees patches of volumes, not slices."""
        return self.sampling.patch is not None

    @property
    def input_channels(self) -> int:
        """Channels of the network's input: each input with its neighbours on both sides."""
        return len(self.inputs) * (1 + 2 * self.sampling.context)

    @property
    def is_configured(self) -> bool:
        """Whether it says everything; else a cohort must say the rest."""
        return self.configure == AS_WRITTEN

    def refuse_if_open(self) -> None:
        """Refuse to be used as it is while a cohort must say the rest.

        Raises:
            RecipeError: It is to be configured from a cohort.
        """
        if not self.is_configured:
            raise RecipeError(
                "$.configure",
                f"the recipe '{self.name}' is chosen from a cohort, and none was measured yet. "
                "Give it to 'deeptranslate train', or write it with 'deeptranslate propose "
                f"--recipe {self.name}'; in Python use DeepTranslateLib.configuration.configured.",
            )

    @property
    def is_denoising(self) -> bool:
        """Noisy inputs are made from clean images."""
        return self.noise.kind != "none"

    @property
    def undoes_intensities(self) -> bool:
        """The output is the input made better, and gets back what preprocessing took from it.

        Window, range and noise are then on the standard scale, targets and outputs in the
        input's own units.
        """
        changed = self.preprocessing.standardisation != "none" or self.preprocessing.bias_correction
        same = self.is_denoising or self.network.residual
        return changed and same and self.target.standardisation == "none"

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
