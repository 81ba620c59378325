"""Optimizers by name, and the learning rate of each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from DeepTranslateLib.recipe import Optimizer, Recipe


def build_optimizer(
    optimizer: Optimizer, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer of a recipe for some weights, at its full learning rate."""
    rate, decay, momentum = optimizer.learning_rate, optimizer.weight_decay, optimizer.momentum
    betas = (optimizer.beta1, 0.999)
    if optimizer.name == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=decay)
    if optimizer.name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay, momentum=momentum)
    if optimizer.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, weight_decay=decay, momentum=momentum, nesterov=momentum > 0
        )
    if optimizer.name == "adagrad":
        return torch.optim.Adagrad(parameters, lr=rate, weight_decay=decay)
    if optimizer.name == "adadelta":
        return torch.optim.Adadelta(parameters, lr=rate, weight_decay=decay)
    return torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay)


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """The learning rate of an epoch, from 0; a function of the recipe and nothing else."""
    optimizer = recipe.optimizer
    warmup = optimizer.warmup_epochs
    if epoch < warmup:
        return optimizer.learning_rate * (epoch + 1) / (warmup + 1)
    done = (epoch - warmup) / (recipe.training.epochs - warmup)
    return optimizer.learning_rate * _part(optimizer.schedule, done)


def _part(schedule: str, done: float) -> float:
    """What is left of the learning rate after a part, from 0 to 1, of the epochs."""
    if schedule == "poly":
        return (1 - done) ** 0.9
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if schedule == "linear":
        return min(1.0, 2 * (1 - done))
    return 1.0
