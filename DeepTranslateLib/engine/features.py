"""Features of images, as a trained network sees them: the encoder of a model, or VGG-16.

Features compare images by structure rather than value by value, in perceptual losses and in
distances of distributions (KID, FID). Their network is a local file: a model of DeepTranslate
(a segmentation, or an auto-encoder: a model whose target is its input), or published weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.engine.freezing import encoder_of
from DeepTranslateLib.engine.pretrained import (
    Pretrained,
    PretrainedError,
    by_dimension,
    check_file,
    load_network,
    neighbours_alike,
)
from DeepTranslateLib.model import SUFFIX, Model
from DeepTranslateLib.recipe.network import WITH_ENCODER, Network

# Simonyan & Zisserman 2015, table 1, column D: channels of each convolution at each level.
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Of the images that its weights were learnt from, each colour scaled to 0..1.
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FeatureNetwork(Pretrained):
    """Takes images (B, 1, *S) of 0 to 1 and gives features (B, C, *S'), S' smaller at each level.

    A network of slices takes patches (B, 1, D, H, W) slice by slice and gives (B * D, C, H', W').
    Gradients flow to the images and to no weight.

    Attributes:
        description: Which features they are, for reports: network, level, file and hash.
    """

    def __init__(self, network: nn.Module, dimension: int, description: str, path: Path) -> None:
        super().__init__(dimension, path)
        self._network = network
        self.description = description
        self._freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Features of images (B, 1, *S).

        Raises:
            PretrainedError: The network is of volumes and the images are slices, or they are too
                small for its level.
        """
        return by_dimension(self._network, images, self.dimension, self.path)[0]


def feature_network(
    path: str | Path, sha256: str | None, level: int, device: torch.device
) -> FeatureNetwork:
    """The network whose features a recipe names.

    Args:
        path: A model (.dtmodel) with an encoder (unet, dynunet, basicunet, segresnet or
            resnet), or the weights of VGG-16 (.safetensors) under torchvision's names,
            "features.0.weight" and so on.
        sha256: Of the file; None where any will do.
        level: 0 is the full resolution, each further one has half of it; of a model the last is
            the coarsest, of VGG-16 4. The features are those at the level's end: of VGG-16 after
            relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3.
        device: Where it computes.

    Raises:
        PretrainedError: No such file, another hash, no such level, or a network without encoder.
        ModelError: The model is damaged.
    """
    path = check_file(path, sha256)
    if path.suffix.lower() == SUFFIX:
        network, dimension, name = _encoder(path, level, device)
    elif path.suffix.lower() == ".safetensors":
        network, dimension, name = _vgg(path, level).to(device), 2, "VGG-16"
    else:
        raise PretrainedError(
            f"Features are of a model ({SUFFIX}) or of VGG-16 weights (.safetensors), not of "
            f"{path.name}. docs/adversarial.md tells how to convert a .pth file."
        )
    digits = file_sha256(path)[:8]
    description = f"{name} level {level} of {path.name} (SHA-256 {digits})"
    return FeatureNetwork(network, dimension, description, path)


class _Reached(Exception):  # noqa: N818 - no error: it ends a pass early
    """Carries the features of the wanted level out of a network that need not go on."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


class _Encoder(nn.Module):
    """A network up to the end of one of its levels."""

    def __init__(self, network: nn.Module, level: nn.Module, model: Model) -> None:
        super().__init__()
        self._whole = network
        self._level = level
        self._model = model

    def forward(self, images: Tensor) -> Tensor:
        handle = self._level.register_forward_hook(_leave)
        try:
            self._whole(neighbours_alike(images, self._model))
        except _Reached as reached:
            return reached.features
        finally:
            handle.remove()
        raise AssertionError("the network has not used its level")


def _leave(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    raise _Reached(output)


def _encoder(path: Path, level: int, device: torch.device) -> tuple[nn.Module, int, str]:
    network, model = load_network(path, device)
    wanted = model.recipe.network
    if wanted.name not in WITH_ENCODER:
        raise PretrainedError(
            f"The model {path} is a {wanted.name}, which has no encoder with levels. Name a model "
            f"with {', '.join(WITH_ENCODER[:-1])} or {WITH_ENCODER[-1]}."
        )
    levels = _levels(network, wanted)
    _check_level(path, level, len(levels))
    encoder = _Encoder(network, levels[level], model)
    return encoder, wanted.dimension, f"{wanted.name} encoder"


def _levels(network: nn.Module, wanted: Network) -> list[nn.Module]:
    """What each level of an encoder ends with, finest first."""
    parts = encoder_of(network, wanted.name)
    stages = list(parts[-1]) if isinstance(parts[-1], nn.ModuleList) else list(parts)
    # All blocks of a resnet are at its coarsest level.
    return [*stages[: wanted.levels - 1], stages[-1]]


class _VGG(nn.Module):
    """The convolutions of VGG-16 up to the end of a level; grey images stand for all colours."""

    _mean: Tensor
    _sd: Tensor

    def __init__(self, level: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for number, widths in enumerate(_VGG16[: level + 1]):
            if number:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layers += [nn.Conv2d(before, width, kernel_size=3, padding=1), nn.ReLU()]
                before = width
        self.features = nn.Sequential(*layers)
        self._least = 2**level
        self.register_buffer("_mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("_sd", torch.tensor(_SD).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if min(images.shape[2:]) < self._least:
            raise PretrainedError(
                f"Images of {images.shape[2]}x{images.shape[3]} pixels are too small for this "
                f"level of VGG-16; it needs {self._least}. Take a finer level."
            )
        return self.features((images - self._mean) / self._sd)


def _vgg(path: Path, level: int) -> nn.Module:
    _check_level(path, level, len(_VGG16))
    network = _VGG(level)
    wanted = network.state_dict()
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = set(file.keys())
            weights = {name: file.get_tensor(name) for name in wanted if name in names}
    except (OSError, SafetensorError) as error:
        raise PretrainedError(
            f"{path} cannot be read ({error}). Expected a safetensors file of VGG-16."
        ) from error
    for name, tensor in wanted.items():
        shape = tuple(weights[name].shape) if name in weights else "nothing"
        if shape != tuple(tensor.shape):
            raise PretrainedError(
                f"{path} holds no VGG-16 with torchvision's names: expected '{name}' of shape "
                f"{tuple(tensor.shape)}, found {shape}."
            )
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return network


def _check_level(path: Path, level: int, levels: int) -> None:
    if not 0 <= level < levels:
        raise PretrainedError(
            f"The network of {path} has levels 0 to {levels - 1}, and level {level} was asked for "
            "(features_level)."
        )
