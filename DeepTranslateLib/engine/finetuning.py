"""Starting from what a model has learnt already: all of it, or what fits another task."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from DeepTranslateLib.engine.directions import joined, of_direction
from DeepTranslateLib.engine.freezing import encoder_of, is_frozen
from DeepTranslateLib.engine.learner import InitialWeights
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.stages import stages_of
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.engine.volumestack import taken_spacings
from DeepTranslateLib.model import Model, ModelError
from DeepTranslateLib.recipe import FORWARD, Recipe


def initial_weights(model: Model, recipe: Recipe) -> InitialWeights:
    """The weights of a model, for a recipe whose network has the same tensors.

    What the labels mean may differ; how many there are may not.

    Raises:
        TrainingError: The network of the recipe is another; the message lists what differs.
        ModelError: The model's weights cannot be read.
    """
    _refuse_stages(model, recipe)
    weights = _weights(model)
    wanted = {name: tensor.shape for name, tensor in build_network(recipe).state_dict().items()}
    ways = [of_direction(weights, direction) for direction in model.directions]
    if any({name: tensor.shape for name, tensor in way.items()} != wanted for way in ways):
        raise TrainingError(
            f"The model {model.path} cannot be trained further with the recipe '{recipe.name}': "
            f"their networks are not the same ({'; '.join(_differences(model.recipe, recipe))}). "
            "Take these fields from the model's recipe, ask for a transfer where only inputs or "
            "outputs differ, or train without it."
        )
    return InitialWeights(weights, _origin(model))


def transferred_weights(model: Model, recipe: Recipe) -> InitialWeights:
    """The weights of a model that fit a recipe with other inputs or outputs.

    Layers whose tensors do not fit start anew, with the recipe's seed: the last where the number
    of labels differs, the first where that of inputs or neighbouring slices does. All else of the
    networks must be the same.

    Raises:
        TrainingError: The network of the recipe is another; the message lists what differs. Or
            the encoder, which is to be frozen, has a layer that starts anew.
        ModelError: The model's weights cannot be read.
    """
    _refuse_stages(model, recipe)
    weights = _weights(model)
    others = [
        text
        for name, text in _pairs(model.recipe, recipe).items()
        if name.startswith("network.") and name != "network.deep_supervision"
    ]
    if others:
        raise TrainingError(
            f"What the model {model.path} has learnt cannot be transferred to the recipe "
            f"'{recipe.name}': their networks differ in more than inputs and outputs "
            f"({'; '.join(others)}). Take these fields from the model's recipe."
        )
    network = build_network(recipe)
    wanted = network.state_dict()
    fitting = {
        direction: {
            name: tensor
            for name, tensor in of_direction(weights, direction).items()
            if name in wanted and tensor.shape == wanted[name].shape
        }
        for direction in model.directions
    }
    fresh = tuple(name for name in wanted if name not in fitting[FORWARD])
    if is_frozen(recipe, 0):
        parts = encoder_of(network, recipe.network.name)
        frozen = {id(parameter) for part in parts for parameter in part.parameters()}
        named = network.named_parameters()
        anew = [name for name, tensor in named if id(tensor) in frozen and name in fresh]
        if anew:
            raise TrainingError(
                f"The encoder cannot be frozen: {', '.join(layers_of(anew))} of the model "
                f"{model.path} does not fit the recipe '{recipe.name}' and starts anew "
                f"({'; '.join(_differences(model.recipe, recipe))}). Set training.frozen to "
                "'none', or take the inputs and sampling.context from the model's recipe."
            )
    origin = _origin(model)
    if fresh:
        origin["fresh_layers"] = ", ".join(layers_of(fresh))
    return InitialWeights(joined(fitting), origin, fresh)


def layers_of(tensors: Iterable[str]) -> tuple[str, ...]:
    """Names of the layers that tensors such as "heads.0.weight" belong to, each once."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in tensors))


def initial_spacings(model: Model, recipe: Recipe) -> Recipe:
    """The recipe with the model's spacings where its own are "auto".

    What a network has learnt holds at the spacing that it was trained at, so that of the model is
    kept, whatever the new images have; unless it sees another plane now.
    """
    if model.recipe.sampling.plane != recipe.sampling.plane:
        return recipe
    return taken_spacings(recipe, model.recipe)


def _refuse_stages(model: Model, recipe: Recipe) -> None:
    if stages_of(model.recipe) == stages_of(recipe) == 1:
        return
    raise TrainingError(
        f"Neither the model {model.path} nor the recipe '{recipe.name}' may have further stages "
        "(method.auto_context): what a stage learns from must be made by networks that have not "
        "seen it, which of a model nobody knows. Train without a model to start from."
    )


def _weights(model: Model) -> dict[str, Tensor]:
    try:
        return load(model.weights())
    except (SafetensorError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"The weights in {model.path} are damaged ({error}). Get the model again from where "
            "it came from."
        ) from error


def _origin(model: Model) -> dict[str, str]:
    return {"name": model.card.name, "weights_sha256": model.card.weights_sha256}


def _differences(model: Recipe, recipe: Recipe) -> list[str]:
    return list(_pairs(model, recipe).values()) or ["its weights are not those of its own recipe"]


def _pairs(model: Recipe, recipe: Recipe) -> dict[str, str]:
    """By the name of each field in which the networks differ, a text that says how."""
    pairs = {
        f"network.{field.name}": tuple(getattr(r.network, field.name) for r in (model, recipe))
        for field in dataclasses.fields(recipe.network)
    }
    pairs["number of target.labels"] = (model.output_channels, recipe.output_channels)
    pairs["sampling.context"] = (model.sampling.context, recipe.sampling.context)
    pairs["number of inputs"] = (len(model.inputs), len(recipe.inputs))
    return {
        name: f"{name} is {theirs} in the model and {ours} in the recipe"
        for name, (theirs, ours) in pairs.items()
        if theirs != ours
    }
