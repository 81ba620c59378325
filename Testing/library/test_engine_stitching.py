"""Windows put together: as MONAI does it, in any bands, and from few slices at a time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from DeepTranslateLib.engine.resampling import LinearAxis
from DeepTranslateLib.engine.stitching import Stitcher, Windows

Size = tuple[int, int, int]


def random_network(channels: int = 2, seed: int = 0) -> nn.Module:
    """A small network that sees far enough for the place of a window to matter."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(4, channels, 5, padding=2)
    ).eval()


def stitched(
    network: nn.Module,
    volume: Tensor,
    patch: Size,
    overlap: float,
    batch: int = 1,
    bands: int = 1,
    wanted: list[int] | None = None,
) -> Tensor:
    """All wanted slices (K, slices, H, W), put together from bands of rows."""
    size = tuple(volume.shape[1:])
    wanted = list(range(size[0])) if wanted is None else wanted

    @torch.inference_mode()
    def predict(windows: Tensor) -> Tensor:
        return network(windows)

    ends = np.linspace(0, size[1], bands + 1).round().astype(int).tolist()
    parts = []
    for rows in pairwise(ends):
        stitcher = Stitcher(Windows(size, patch, overlap), predict, 2, batch)  # type: ignore[arg-type]
        pieces = stitcher.slices(lambda a, b: volume[:, a:b], wanted, rows)
        found = [(index, piece.clone()) for index, piece in pieces]
        assert [index for index, _ in found] == wanted
        parts.append(torch.stack([piece for _, piece in found], dim=1))
    return torch.cat(parts, dim=2)


CASES = [
    ((21, 18, 23), (8, 8, 8), 0.25),
    ((16, 16, 16), (8, 8, 8), 0.5),
    ((9, 30, 12), (8, 16, 6), 0.7),
    ((8, 8, 8), (8, 8, 8), 0.25),
    ((5, 20, 7), (8, 8, 12), 0.25),  # smaller than a window in two directions
    ((3, 3, 4), (8, 8, 7), 0.0),
    ((40, 9, 9), (16, 8, 8), 0.0),
]


@pytest.mark.parametrize(("size", "patch", "overlap"), CASES)
@torch.inference_mode()
def test_the_result_is_that_of_monais_sliding_window_inferer(
    size: Size, patch: Size, overlap: float
) -> None:
    network = random_network()
    volume = torch.rand(1, *size, generator=torch.Generator().manual_seed(1))
    expected = SlidingWindowInferer(patch, 1, overlap, mode="gaussian")(volume[None], network)[0]
    found = stitched(network, volume, patch, overlap)
    assert found.shape == (2, *size)
    assert torch.allclose(found, expected, atol=1e-5, rtol=0)


@settings(max_examples=15)
@given(
    st.tuples(st.integers(1, 20), st.integers(4, 20), st.integers(1, 20)),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 2**31),
)
def test_bands_of_rows_and_batches_change_nothing(
    size: Size, bands: int, batch: int, seed: int
) -> None:
    network = random_network(seed=seed)
    volume = torch.rand(1, *size, generator=torch.Generator().manual_seed(seed))
    whole = stitched(network, volume, (8, 6, 7), 0.3)
    found = stitched(network, volume, (8, 6, 7), 0.3, batch, bands)
    assert torch.allclose(found, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("wanted", [[0], [19], [3, 4, 17], [9, 10, 11]])
def test_some_slices_are_as_they_are_among_all(wanted: list[int]) -> None:
    network = random_network()
    volume = torch.rand(1, 20, 9, 9, generator=torch.Generator().manual_seed(2))
    whole = stitched(network, volume, (8, 6, 6), 0.25)
    found = stitched(network, volume, (8, 6, 6), 0.25, wanted=wanted)
    assert torch.equal(found, whole[:, wanted])


def test_slices_are_given_out_before_later_ones_are_read() -> None:
    volume = torch.rand(1, 64, 6, 6)
    furthest = 0

    def read(first: int, last: int) -> Tensor:
        nonlocal furthest
        furthest = max(furthest, last)
        return volume[:, first:last]

    stitcher = Stitcher(Windows((64, 6, 6), (8, 4, 4), 0.25), lambda windows: windows, 1)
    for index, values in stitcher.slices(read, range(64), (0, 6)):
        # A network that changes nothing: whatever the weights, the mean is the volume itself.
        assert torch.allclose(values, volume[:, index], atol=1e-6)
        assert furthest <= index + 8
    assert furthest == 64


def test_no_slice_is_read_twice_and_none_that_is_not_needed() -> None:
    read: list[int] = []

    def note(first: int, last: int) -> Tensor:
        read.extend(range(first, last))
        return torch.zeros(1, last - first, 5, 5)

    stitcher = Stitcher(Windows((40, 5, 5), (8, 4, 4), 0.25), lambda windows: windows, 1)
    list(stitcher.slices(note, range(40), (0, 5)))
    assert read == list(range(40))
    read.clear()
    list(stitcher.slices(note, [20], (0, 5)))
    assert read == list(range(18, 26))  # the one window of 18 to 25 that holds it


def test_windows_are_counted_beforehand() -> None:
    done = []
    windows = Windows((20, 17, 9), (8, 6, 6), 0.25)
    stitcher = Stitcher(windows, lambda batch: batch, 1, 2, done.append)
    for wanted, rows in ((range(20), (0, 17)), ([4], (0, 17)), (range(20), (5, 7))):
        done.clear()
        list(stitcher.slices(lambda a, b: torch.zeros(1, b - a, 17, 9), wanted, rows))
        assert sum(done) == stitcher.windows_needed(wanted, rows)
    assert stitcher.windows_needed(range(20), (0, 17)) == len(windows)


def test_when_memory_runs_out_smaller_batches_do_the_same() -> None:
    tried = []

    def hungry(windows: Tensor) -> Tensor:
        tried.append(len(windows))
        if len(windows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return windows

    volume = torch.rand(1, 6, 14, 14)
    stitcher = Stitcher(Windows((6, 14, 14), (6, 6, 6), 0.25), hungry, 1, batch=8)
    for index, values in stitcher.slices(lambda a, b: volume[:, a:b], range(6), (0, 14)):
        assert torch.allclose(values, volume[:, index], atol=1e-6)
    assert tried[:3] == [8, 4, 2]
    assert set(tried[2:]) <= {1, 2}

    def greedy(windows: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    stitcher = Stitcher(Windows((6, 6, 6), (6, 6, 6), 0.25), greedy, 1)
    with pytest.raises(torch.OutOfMemoryError):
        list(stitcher.slices(lambda a, b: volume[:, a:b, :6, :6], range(6), (0, 6)))


# ---- resampling along an axis


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_resampled_rows_are_those_of_torchs_antialiased_interpolation(
    size: int, new_size: int, seed: int
) -> None:
    values = torch.rand(2, 3, size, 5, generator=torch.Generator().manual_seed(seed))
    expected = F.interpolate(values, (new_size, 5), mode="bilinear", antialias=True)
    axis = LinearAxis.between(size, new_size)
    assert len(axis) == new_size
    assert torch.allclose(axis.rows(values, 0, (0, new_size)), expected, atol=1e-5)
    # Some of them from no more than they need, and one from its sources.
    first, last = new_size // 3, new_size // 3 + max(1, new_size // 3)
    needed = axis.needed(range(first, last))
    part = values[..., needed[0] : needed[-1] + 1, :]
    assert torch.allclose(
        axis.rows(part, needed[0], (first, last)), expected[..., first:last, :], atol=1e-5
    )
    alone = sum(values[..., n, :] * weight for n, weight in axis.sources(first))
    assert torch.allclose(alone, expected[..., first, :], atol=1e-5)
