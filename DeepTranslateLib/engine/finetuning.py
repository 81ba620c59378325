"""Starting from what a model has learnt already."""

from __future__ import annotations

import dataclasses

from safetensors import SafetensorError
from safetensors.torch import load

from DeepTranslateLib.engine.learner import InitialWeights
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.model import Model, ModelError
from DeepTranslateLib.recipe import Recipe


def initial_weights(model: Model, recipe: Recipe) -> InitialWeights:
    """The weights of a model, for a recipe whose network has the same tensors.

    What the labels mean may differ; how many there are may not.

    Raises:
        TrainingError: The network of the recipe is another; the message lists what differs.
        ModelError: The model's weights cannot be read.
    """
    try:
        weights = load(model.weights())
    except (SafetensorError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"The weights in {model.path} are damaged ({error}). Get the model again from where "
            "it came from."
        ) from error
    wanted = {name: tensor.shape for name, tensor in build_network(recipe).state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != wanted:
        raise TrainingError(
            f"The model {model.path} cannot be trained further with the recipe '{recipe.name}': "
            f"their networks are not the same ({'; '.join(_differences(model.recipe, recipe))}). "
            "Take these fields from the model's recipe, or train without it."
        )
    origin = {"name": model.card.name, "weights_sha256": model.card.weights_sha256}
    return InitialWeights(weights, origin)


def initial_spacing(model: Model, recipe: Recipe) -> float | None:
    """The pixel size (mm) that "auto" stands for when a model is trained further, if any.

    What a network has learnt holds at the pixel size that it was trained at, so that of the
    model is kept, whatever the new images have; unless it sees another plane now.
    """
    spacing = model.recipe.preprocessing.spacing
    if model.recipe.sampling.plane != recipe.sampling.plane or isinstance(spacing, str):
        return None
    return spacing


def _differences(model: Recipe, recipe: Recipe) -> list[str]:
    pairs = {
        f"network.{field.name}": tuple(getattr(r.network, field.name) for r in (model, recipe))
        for field in dataclasses.fields(recipe.network)
    }
    pairs["number of target.labels"] = (model.output_channels, recipe.output_channels)
    pairs["sampling.context"] = (model.sampling.context, recipe.sampling.context)
    pairs["number of inputs"] = (len(model.inputs), len(recipe.inputs))
    return [
        f"{name} is {theirs} in the model and {ours} in the recipe"
        for name, (theirs, ours) in pairs.items()
        if theirs != ours
    ] or ["its weights are not those of its own recipe"]
