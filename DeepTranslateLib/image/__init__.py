"""Images: voxels and where they lie, and the files they come from.

The only room that knows RAS from LPS and IJK from KJI. `volume` is the value itself, `files` reads
and writes it.
"""

from DeepTranslateLib.image.volume import Image, ImageError

__all__ = ["Image", "ImageError"]
