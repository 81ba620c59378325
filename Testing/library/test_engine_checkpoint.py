"""Checkpoints: what goes in comes out; damaged files are refused; a crash keeps the old one."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.engine import checkpoint
from DeepTranslateLib.engine.checkpoint import CheckpointError, load_state, save_state

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    tensor = torch.randint(0, 100, shape, generator=generator)
    tensor = tensor.to(draw(st.sampled_from(DTYPES)))
    return tensor.transpose(0, -1) if tensor.ndim > 1 and draw(st.booleans()) else tensor


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), st.text(), tensors()
)
KEYS = st.one_of(st.text(max_size=5), st.integers(0, 9))
STATES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def same(first: Any, second: Any) -> bool:
    """Equal in value and type; NaN equals itself."""
    if isinstance(first, torch.Tensor):
        return (
            isinstance(second, torch.Tensor)
            and first.dtype == second.dtype
            and torch.equal(first, second)
        )
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second or (first != first and second != second))


@settings(max_examples=25)
@given(STATES)
def test_any_nested_state_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, state: Any
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    save_state(path, state)
    assert same(load_state(path), state)


def test_dictionaries_that_look_like_the_files_own_structure_survive(tmp_path: Path) -> None:
    state = {"tensor": "tensor0", "list": [{"items": []}, {"value": {}}], "items": {"list": []}}
    save_state(tmp_path / "s", state)
    assert load_state(tmp_path / "s") == state


def test_tuples_come_back_as_lists(tmp_path: Path) -> None:
    save_state(tmp_path / "s", {"betas": (0.9, 0.999)})
    assert load_state(tmp_path / "s") == {"betas": [0.9, 0.999]}


def test_tensors_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    tensor = torch.arange(6.0)
    save_state(tmp_path / "s", [tensor, tensor, tensor[2:4]])
    first, second, part = load_state(tmp_path / "s")
    assert torch.equal(first, tensor)
    assert torch.equal(second, tensor)
    assert torch.equal(part, torch.tensor([2.0, 3.0]))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_adam_goes_on_from_a_checkpoint_as_if_never_interrupted(
    tmp_path: Path, layout: torch.memory_format
) -> None:
    def build() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Conv2d(5, 4, 3)
        ).to(memory_format=layout)
        return network, torch.optim.Adam(network.parameters(), lr=0.01)

    def learn(network: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            image = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            network(image).square().mean().backward()
            optimizer.step()

    straight, optimizer = build()
    learn(straight, optimizer, range(8))
    network, optimizer = build()
    learn(network, optimizer, range(3))
    save_state(tmp_path / "s", [network.state_dict(), optimizer.state_dict()])
    network, optimizer = build()
    weights, moments = load_state(tmp_path / "s")
    network.load_state_dict(weights)
    optimizer.load_state_dict(moments)
    learn(network, optimizer, range(3, 8))
    for mine, theirs in zip(network.parameters(), straight.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_with_what_to_do(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "last.safetensors"
    save_state(path, {"weights": torch.rand(40, 40), "epoch": 3})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=r"last\.safetensors.*remove it"):
        load_state(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\xff" * 64, b"{}" * 20])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError):
        load_state(tmp_path / "x")


def test_a_safetensors_file_of_something_else_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, tmp_path / "other")
    for name in ("other", "missing"):
        with pytest.raises(CheckpointError):
            load_state(tmp_path / name)


@pytest.mark.parametrize("structure", ['{"tensor": "tensor9"}', "{", "[]", "3", '{"items": 3}'])
def test_a_structure_that_does_not_fit_is_refused(tmp_path: Path, structure: str) -> None:
    from safetensors.torch import save_file

    save_file({"tensor0": torch.zeros(2)}, tmp_path / "x", metadata={"structure": structure})
    with pytest.raises(CheckpointError):
        load_state(tmp_path / "x")


def test_what_cannot_be_kept_is_refused_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    save_state(path, {"epoch": 1})
    with pytest.raises(TypeError, match="set"):
        save_state(path, {"epoch": 2, "seen": {1, 2}})
    assert load_state(path) == {"epoch": 1}


def test_a_crash_while_writing_keeps_the_old_checkpoint_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.safetensors"
    save_state(path, {"weights": torch.ones(3)})

    def write_half(tensors: Any, temporary: Path, metadata: Any) -> None:
        temporary.write_bytes(b"half of a check")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", write_half)
    with pytest.raises(OSError, match="No space"):
        save_state(path, {"weights": torch.zeros(3)})
    assert torch.equal(load_state(path)["weights"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]


def test_loaded_tensors_do_not_hold_on_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    save_state(path, torch.ones(1000))
    loaded = load_state(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(loaded, torch.ones(1000))


def test_numbers_that_are_not_finite_come_back(tmp_path: Path) -> None:
    save_state(tmp_path / "s", [math.inf, -math.inf, 0.1 + 0.2])
    assert load_state(tmp_path / "s") == [math.inf, -math.inf, 0.1 + 0.2]
