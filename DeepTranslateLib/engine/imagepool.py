"""A history of translated images, so that a discriminator does not forget what fooled it once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Gives new images mixed with earlier ones (Shrivastava et al. 2017; Zhu et al. 2017, sec. 4).

    Until it is full it keeps each image and gives it back. After that each image is, with a chance
    of a half, exchanged for one of those kept, which takes its place. Draws are from torch's
    generator of the CPU, so that a training that is resumed draws the same.

    Args:
        size: Images that are kept, 50 as published; 0 gives what comes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._images: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._images)

    def mixed(self, images: Tensor) -> Tensor:
        """As many images as come, some of them earlier ones of the same shape.

        Args:
            images: (B, C, *S); where a discriminator judges pairs, input and output as channels of
                one tensor, so that they stay together.

        Returns:
            (B, C, *S), without gradient.
        """
        images = images.detach()
        if not self._size:
            return images
        return torch.stack([self._exchanged(image) for image in images])

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as checkpoints store it."""
        return {"images": list(self._images)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the images of a `state`; they move to the device where they are asked for.

        Raises:
            ValueError: There are more images than the pool keeps.
        """
        images = list(state["images"])
        if len(images) > self._size:
            raise ValueError(
                f"A pool of {len(images)} images cannot go on as one of {self._size}: "
                "adversarial.pool was changed. Take its former value, or train from the start."
            )
        self._images = images

    def _exchanged(self, image: Tensor) -> Tensor:
        if len(self._images) < self._size:
            self._images.append(image.clone())
            return image
        # Slices of several volumes may differ in size, and a batch cannot.
        alike = [n for n, kept in enumerate(self._images) if kept.shape == image.shape]
        if not alike or torch.rand(()) < 0.5:
            return image
        place = alike[int(torch.randint(len(alike), ()))]
        earlier = self._images[place].to(image)
        self._images[place] = image.clone()
        return earlier
