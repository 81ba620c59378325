"""Does a volume look like what a model was trained on? Asked before it is translated."""

from __future__ import annotations

from dataclasses import dataclass

from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Model


@dataclass(frozen=True)
class Doubt:
    """A reason to look twice at what a model makes of a volume.

    Attributes:
        kind: "units", "spacing", "field of view" or "intensities".
        message: What was expected, what was found, what to do.
    """

    kind: str
    message: str


def doubts(image: Image, model: Model) -> tuple[Doubt, ...]:
    """Hold a volume against what the model's card says of its training images.

    Older cards do not say everything; what they do not say is not asked.

    Args:
        image: The volume to translate, in any orientation.
        model: What shall translate it.

    Returns:
        All that is unlike, the gravest first; nothing where the volume is familiar.
    """
    return ()
