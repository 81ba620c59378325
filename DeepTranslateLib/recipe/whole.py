"""Recipe: the parts together, and what each part allows but the whole does not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from DeepTranslateLib.recipe.adversarial import Adversarial, Contrast, Structure
from DeepTranslateLib.recipe.augmentation import Augmentation, Noise
from DeepTranslateLib.recipe.consistency import (
    check_dimension,
    check_intensities,
    check_losses,
    check_monitor,
    check_network,
    check_noise,
    check_residual,
    check_target_scale,
)
from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.recipe.images import Input, Target
from DeepTranslateLib.recipe.learning import CHANGEABLE, Method, Optimizer, Training
from DeepTranslateLib.recipe.methods import TWO_WAYS, UNPAIRED, check_method
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
    adversarial: Adversarial = Adversarial()
    structure: Structure = Structure()
    contrast: Contrast = Contrast()
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
        kind, units = self.target.kind, self.inputs[0].units
        check_method(self, path)
        check_losses(self.method, kind, f"{path}.method.loss")
        check_network(self.network, self.method, f"{path}.network")
        check_residual(self.network, self.target, units, f"{path}.network.residual")
        check_dimension(self.network, self.sampling, self.preprocessing, path)
        if self.optimizer.warmup_epochs >= self.training.epochs:
            raise RecipeError(
                f"{path}.optimizer.warmup_epochs",
                f"expected fewer than the {self.training.epochs} epochs of training, found "
                f"{self.optimizer.warmup_epochs}.",
            )
        check_monitor(self.training, self.method, kind, f"{path}.training.monitor")
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
        check_noise(self.noise, self.target, self.preprocessing, units, path)
        check_intensities(self.preprocessing, units, f"{path}.preprocessing")
        check_target_scale(
            self.target, self.preprocessing, self.network, self.noise, f"{path}.target"
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
    def is_unpaired(self) -> bool:
        """It learns from images of two kinds that do not belong together."""
        return self.method.name in UNPAIRED

    @property
    def is_two_way(self) -> bool:
        """It learns the way from the target to the source, too."""
        return self.method.name in TWO_WAYS

    @property
    def is_denoising(self) -> bool:
        """Noisy inputs are made from clean images."""
        return self.noise.is_added

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

    @property
    def what_is_learnt(self) -> Recipe:
        """The recipe with defaults for all that may change when a training goes on.

        The files of `structure` are named as `with_files_by_content` names them.
        """
        default = Training()
        changes = {name: getattr(default, name) for name in CHANGEABLE}
        training = dataclasses.replace(self.training, **changes)
        return dataclasses.replace(self.with_files_by_content, training=training)

    @property
    def with_files_by_content(self) -> Recipe:
        """The recipe whose `structure` names files by their checksums, wherever they lie."""
        named = {
            use: getattr(self.structure, f"{use}_sha256") or getattr(self.structure, use)
            for use in ("features", "segmentor", "target_segmentor")
        }
        return dataclasses.replace(self, structure=dataclasses.replace(self.structure, **named))


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
