"""Registration: the transform that brings one image onto another, found by elastix.

Elastix (Klein et al. 2010, doi:10.1109/TMI.2009.2035616) maximises the mutual information of
Mattes et al. (2003, doi:10.1109/TMI.2003.809072) by adaptive stochastic gradient descent, from
coarse to fine. Its default parameter maps are used, with the changes that `parameter_maps` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from DeepTranslateLib.engine.alignment import (
    Alignment,
    RegistrationError,
    checked_pair,
    comparable,
    foreground_centre,
    measure_alignment,
)
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.affine import sitk_geometry
from DeepTranslateLib.image.transform import Transform

KINDS = ("rigid", "affine", "deformable")
ITERATIONS = 256  # elastix's default
_STAGES = {"rigid": "rigid", "affine": "affine", "deformable": "bspline"}
_SEED = "121212"
# Headers of one examination are trusted; those of two patients say nothing of each other.
_HEADERS_AGREE = 1 / 3


class MissingPackageError(RegistrationError):
    """Registration needs a package that is not installed."""


@dataclass(frozen=True)
class Registration:
    """What a registration found.

    Attributes:
        transform: From the fixed image's world to the moving image's.
        start: Where the search began: "headers", or "centres" laid onto each other.
        before: How well the images agree as their headers place them.
        after: How well they agree now.
    """

    transform: Transform
    start: str
    before: Alignment
    after: Alignment

    @property
    def improved(self) -> bool:
        """Whether the images tell more about each other than before."""
        return self.after.information > self.before.information


def register(
    fixed: Image,
    moving: Image,
    kind: str,
    *,
    mask: Image | None = None,
    iterations: int = ITERATIONS,
) -> Registration:
    """Find where the points of a fixed image lie in a moving one.

    The same images and settings give the same transform. Where less than a third of the
    foregrounds overlap as the headers place them, the search begins with their centres of gravity
    laid onto each other.

    Args:
        fixed: The image whose place is kept.
        moving: The image to be brought onto it; of any modality.
        kind: "rigid" (turned and shifted), "affine" (also scaled and sheared, after a rigid
            stage) or "deformable" (also a B-spline with knots 10 mm apart, after both).
        mask: On the fixed image's grid; only where it is not 0 are the images compared.
        iterations: At each of the four levels of each stage.

    Raises:
        RegistrationError: The images cannot be registered, or elastix fails.
        MissingPackageError: itk-elastix is not installed.
    """
    if kind not in KINDS:
        raise RegistrationError(f"A registration is {', '.join(KINDS)}; found {kind!r}.")
    if mask is not None:
        mask = mask.oriented(fixed.orientation)
    checked_pair(fixed, moving, mask)
    itk = _itk()
    start, name = Transform(), "headers"
    before = measure_alignment(fixed, moving, start, mask)
    if before.overlap < _HEADERS_AGREE:
        shift = np.eye(4)
        shift[:3, 3] = foreground_centre(moving) - foreground_centre(fixed)
        centred = Transform((shift,))
        if measure_alignment(fixed, moving, centred, mask).overlap > before.overlap:
            start, name = centred, "centres"
    # Moved by its header, so that elastix begins where the search shall begin.
    placed = Image(moving.voxels, np.linalg.inv(start.matrix) @ moving.affine)
    found = _found(itk, fixed, placed, parameter_maps(kind, iterations), mask)
    transform = start.after(found)
    return Registration(transform, name, before, measure_alignment(fixed, moving, transform, mask))


def parameter_maps(kind: str, iterations: int = ITERATIONS) -> list[dict[str, str]]:
    """Return the changes to elastix's default parameter maps, one for each stage.

    Args:
        kind: "rigid", "affine" or "deformable".
        iterations: At each level of each stage.
    """
    changes = {
        "MaximumNumberOfIterations": str(iterations),
        "RandomSeed": _SEED,
        # Pairs may share only a part of their fields of view.
        "RequiredRatioOfValidSamples": "0.05",
        "WriteResultImage": "false",
    }
    stages = KINDS[: KINDS.index(kind) + 1]
    return [{"stage": _STAGES[stage], **changes} for stage in stages]


def _itk() -> Any:
    try:
        import itk

        # Here, not at its first use: it is there only where itk-elastix is.
        itk.ElastixRegistrationMethod  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise MissingPackageError(
            "Registration needs the Python package itk-elastix, which is not there "
            f'({error}). Install it with: python -m pip install "itk-elastix>=0.23"'
        ) from error
    return itk


def _found(
    itk: Any, fixed: Image, moving: Image, stages: list[dict[str, str]], mask: Image | None
) -> Transform:
    parameters = itk.ParameterObject.New()
    for stage in stages:
        settings = parameters.GetDefaultParameterMap(stage["stage"])
        for name in stage.keys() - {"stage"}:
            settings[name] = (stage[name],)
        parameters.AddParameterMap(settings)
    method = itk.ElastixRegistrationMethod.New(
        to_itk(itk, fixed, comparable(fixed)), to_itk(itk, moving, comparable(moving))
    )
    if mask is not None:
        method.SetFixedMask(to_itk(itk, fixed, (mask.voxels != 0).astype(np.uint8)))
    method.SetParameterObject(parameters)
    method.SetLogToConsole(False)
    try:
        method.UpdateLargestPossibleRegion()
    except RuntimeError as error:
        raise RegistrationError(
            f"elastix could not register the images ({_gist(error)}). Check that both show the "
            "same part of the body, or lay one roughly onto the other first."
        ) from error
    maps = method.GetTransformParameterObject()
    chain = Transform()
    for number in range(maps.GetNumberOfParameterMaps()):
        chain = transform_of_map(maps.GetParameterMap(number)).after(chain)
    return chain


def to_itk(itk: Any, image: Image, voxels: np.ndarray) -> Any:
    """Return an itk image (LPS) of voxels (K, J, I) on an image's grid."""
    origin, spacing, direction = sitk_geometry(image.affine)
    result = itk.image_from_array(np.ascontiguousarray(voxels))
    result.SetOrigin(origin)
    result.SetSpacing(spacing)
    result.SetDirection(np.reshape(direction, (3, 3)))
    return result


def transform_of_map(found: Mapping[str, Sequence[str]]) -> Transform:
    """Return the transform of one of elastix's transform parameter maps.

    Args:
        found: Of an Euler, an affine or a B-spline transform, without those it is composed with.
    """
    import SimpleITK as sitk

    def numbers(name: str) -> list[float]:
        return [float(value) for value in found[name]]

    (kind,) = found["Transform"]
    if kind == "BSplineTransform":
        spline = sitk.BSplineTransform(3, 3)
        grid = [numbers(f"Grid{part}") for part in ("Size", "Origin", "Spacing", "Direction")]
        direction = np.reshape(grid[3], (3, 3))
        # Elastix lists a direction by columns.
        spline.SetFixedParameters([*grid[0], *grid[1], *grid[2], *direction.T.ravel().tolist()])
        spline.SetParameters(numbers("TransformParameters"))
        return Transform((spline,))
    linear = sitk.Euler3DTransform() if kind == "EulerTransform" else sitk.AffineTransform(3)
    centre = numbers("CenterOfRotationPoint")
    if kind == "EulerTransform":
        linear.SetFixedParameters([*centre, float(found["ComputeZYX"][0] == "true")])
    else:
        linear.SetFixedParameters(centre)
    linear.SetParameters(numbers("TransformParameters"))
    return Transform.from_sitk(linear)


def _gist(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(".")[:200]
