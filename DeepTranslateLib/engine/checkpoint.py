"""Checkpoints: nested state in one safetensors file, no pickle.

Tensors are stored as they are; the structure around them (numbers, texts, lists, dictionaries)
is JSON in the file's metadata. A checkpoint is whole or absent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from DeepTranslateLib.atomic import atomic_file


class CheckpointError(ValueError):
    """A checkpoint cannot be read."""


def save_state(path: Path, state: Any) -> None:
    """Write nested dictionaries, lists, numbers, texts and tensors, atomically."""
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_split(state, tensors))
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"structure": structure})


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote; tensors are on the CPU.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            structure = json.loads((file.metadata() or {})["structure"])
            return _join(structure, file)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({error}). Expected a file written by "
            "DeepTranslate; remove it to train from the start."
        ) from error


def _split(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = f"tensor{len(tensors)}"
        # A copy: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[key, _split(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_split(item, tensors) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _join(structure: Any, file: Any) -> Any:
    ((kind, content),) = structure.items()
    if kind == "tensor":
        # A copy: the tensor maps the file, and Windows refuses to replace a mapped file.
        return file.get_tensor(content).clone()
    if kind == "items":
        return {key: _join(item, file) for key, item in content}
    if kind == "list":
        return [_join(item, file) for item in content]
    return content
