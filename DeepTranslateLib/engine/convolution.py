"""3D convolutions of one volume at a time, as fast on a CPU as those of several."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Channels x slices x rows of a single volume up to which PyTorch leaves oneDNN aside.
_LEFT_ASIDE = 20480
# Rows and columns of a kernel up to which it does.
_WIDEST = 3


class HalvedConv3d(nn.Conv3d):
    """A Conv3d that shows a single volume to the CPU as a batch of its left and right half.

    PyTorch (2.13: `use_mkldnn` in aten/src/ATen/native/Convolution.cpp) leaves a single volume of
    few channels, slices and rows in full precision to a general product of matrices, which takes up
    to ten times as long as oneDNN does for each volume of a batch of two. The halves overlap by
    what the kernel sees, so that the output is the same but for the order of sums. All else is
    convolved as it is.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self._can_be_halved(input):
            return super()._conv_forward(input, weight, bias)
        depth, rows, columns = (int(each) for each in self.padding)
        if self.padding_mode == "zeros":
            padded = functional.pad(input, (columns, columns))
        else:
            around = (columns, columns, rows, rows, depth, depth)
            padded = functional.pad(input, around, mode=self.padding_mode)
            depth = rows = 0
        half = (padded.shape[-1] - self._reach) // 2
        halves = torch.cat([padded[..., : half + self._reach], padded[..., half:]])
        output = functional.conv3d(
            halves, weight, bias, self.stride, (depth, rows, 0), self.dilation, self.groups
        )
        return torch.cat([output[:1], output[1:]], dim=-1)

    @property
    def _reach(self) -> int:
        """Columns that the kernel sees besides one."""
        return self.dilation[2] * (self.kernel_size[2] - 1)

    def _can_be_halved(self, input: Tensor) -> bool:
        if not (input.device.type == "cpu" and input.dtype == torch.float32):
            return False
        if input.ndim != 5 or len(input) != 1 or isinstance(self.padding, str):
            return False
        if torch.is_autocast_enabled("cpu") or self.stride[2] != 1 or self.groups != 1:
            return False
        # Of one voxel the product of matrices is as fast; wide kernels it is never used for.
        if max(self.kernel_size) == 1 or min(self.kernel_size[1:]) > _WIDEST:
            return False
        # What is not zeros around it PyTorch adds to the volume first.
        added = [0 if self.padding_mode == "zeros" else 2 * int(each) for each in self.padding]
        channels, slices, rows, columns = input.shape[1:]
        outputs = columns + 2 * int(self.padding[2]) - self._reach
        few = channels * (slices + added[0]) * (rows + added[1]) <= _LEFT_ASIDE
        return few and outputs > 0 and outputs % 2 == 0


def with_halved_volumes(network: nn.Module) -> nn.Module:
    """The same network, with the same weights, whose plain 3D convolutions are `HalvedConv3d`."""
    for module in network.modules():
        # What is derived from Conv3d has its own ways, such as spectral norm.
        if type(module) is nn.Conv3d:
            module.__class__ = HalvedConv3d
    return network
