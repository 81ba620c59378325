"""A history of translated images, so that a discriminator does not forget what fooled it once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Gives new images mixed with earlier ones (Shrivastava et al. 2017; Zhu et al. 2017, sec. 4).

    Until it is full it keeps each image and gives it back. After that each image is, with a chance
    of a half, exchanged for one of those kept, which takes its place. An image of a shape that none
    of those kept has takes the place of one of the commonest shape, and is given back. Draws are
    from torch's generator of the CPU, so that a training that is resumed draws the same.

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
        alike = self._places_of(image.shape)
        if not alike:
            ((commonest, _),) = Counter(kept.shape for kept in self._images).most_common(1)
            self._images[_one_of(self._places_of(commonest))] = image.clone()
            return image
        if torch.rand(()) < 0.5:
            return image
        place = _one_of(alike)
        earlier = self._images[place].to(image)
        self._images[place] = image.clone()
        return earlier

    def _places_of(self, shape: torch.Size) -> list[int]:
        return [n for n, kept in enumerate(self._images) if kept.shape == shape]


def _one_of(places: list[int]) -> int:
    return places[int(torch.randint(len(places), ()))]
