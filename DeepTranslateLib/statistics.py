"""Tissue volumes and intensities, as rows: per label, in total and slice by slice.

The standard deviation is the sample's (divided by n - 1), as in Slicer's Segment Statistics and
SimpleITK's LabelStatisticsImageFilter, so that a reader who checks a number there finds the same
one; of a single voxel it is 0. Median and percentiles interpolate linearly between order
statistics, numpy's default definition. Both are exact: integers are counted, not binned.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.image import Image

# A counting histogram of 16-bit intensities has at most this many bins (0.5 MB).
_MOST_BINS = 1 << 16
_DECIMALS = {
    "volume_ml": 3, "mean": 2, "sd": 2, "median": 2, "p05": 2, "p95": 2,
    "position_mm": 2, "area_cm2": 2,
}  # fmt: skip
_QUANTILES = (0.5, 0.05, 0.95)
_UNDEFINED = (math.nan,) * (2 + len(_QUANTILES))
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


class StatisticsError(ValueError):
    """Statistics cannot be computed, written or read; the message says what to do."""


@dataclass(frozen=True)
class LabelStatistics:
    """What one label measures in one whole volume; one row of the table of totals.

    Args:
        volume: The measured image's name.
        label: The label's value in the label map.
        name: The label's name.
        voxels: How many voxels carry the label.
        volume_ml: Their volume in millilitres.
        mean: Mean of the image inside the label, in the image's unit (HU for CT); like the
            other intensities NaN where the label is empty or the image holds NaN inside it.
        sd: Sample standard deviation.
        median: The 50th percentile.
        p05: The 5th percentile.
        p95: The 95th percentile.
    """

    volume: str
    label: int
    name: str
    voxels: int
    volume_ml: float
    mean: float
    sd: float
    median: float
    p05: float
    p95: float


@dataclass(frozen=True)
class SliceStatistics:
    """What one label measures in one slice; one row of the table of slices.

    Args:
        volume: The measured image's name.
        slice: Index of the slice along the measured axis of the label map, from 0.
        position_mm: RAS coordinate of the slice's centre along the anatomical axis nearest to
            the measured one: superior for axial slices, as Slicer's axial slice offset shows it.
        area_cm2: The label's area in the slice, in square centimetres.

    The other fields mean what they mean in LabelStatistics, within the slice.
    """

    volume: str
    slice: int
    position_mm: float
    label: int
    name: str
    voxels: int
    volume_ml: float
    mean: float
    sd: float
    median: float
    p05: float
    p95: float
    area_cm2: float


@dataclass(frozen=True)
class Statistics:
    """The statistics of one volume.

    Args:
        totals: One row a label, in the order in which the labels were given.
        slices: One row a slice and label, slices ascending, empty ones included.
    """

    totals: tuple[LabelStatistics, ...]
    slices: tuple[SliceStatistics, ...]


def measure(
    image: Image,
    labels: Image,
    names: Mapping[int, str],
    *,
    volume: str,
    axis: int | None = None,
) -> Statistics:
    """Measure each label's volume and the image's intensities inside it.

    Works slice by slice. Images of up to 16 bits are counted in one histogram a label; of others
    one label's voxels are copied at a time, because exact percentiles need them all.

    Args:
        image: Intensities, voxels (K, J, I), integers or floats.
        labels: Label map on the same grid.
        names: Label value to label name; labels that occur in no voxel give empty rows.
        volume: The image's name, as the rows will carry it.
        axis: Index axis to slice along, 0 for I, 1 for J, 2 for K; by default the one nearest to
            superior-inferior, so that slices are axial however the volume is stored.

    Raises:
        StatisticsError: The grids differ, or `axis` is none of the three.
    """
    if not image.same_grid(labels):
        raise StatisticsError(
            f"Expected a label map on the grid of '{volume}' "
            f"(shape {image.shape}, spacing {_mm(image)} mm), found shape {labels.shape}, "
            f"spacing {_mm(labels)} mm or another origin or direction. Resample the label map to "
            "the image (nearest neighbour), or choose the label map that belongs to it."
        )
    if axis not in (None, 0, 1, 2):
        raise StatisticsError(f"Expected axis 0 (I), 1 (J) or 2 (K), found {axis}.")
    geometry = _Slicing(labels, axis)
    # Views: slicing along I or J of a (K, J, I) array costs no copy of the volume.
    intensities = np.moveaxis(image.voxels, 2 - geometry.axis, 0)
    values = np.moveaxis(labels.voxels, 2 - geometry.axis, 0)

    span = _countable_range(image.voxels)
    bins = 0 if span is None else span[1] - span[0] + 1
    histograms = {label: np.zeros(bins, dtype=np.int64) for label in names}
    slices = []
    for index, label in itertools.product(range(len(values)), names):
        voxels = intensities[index][values[index] == label]
        if span is None:
            summary = _summary_of_values(voxels)
        else:
            # To a wider type first: int16 minus its lowest value does not fit into int16.
            counts = np.bincount(voxels.astype(np.intp) - span[0], minlength=bins)
            histograms[label] += counts
            summary = _summary_of_counts(counts, span[0])
        size = voxels.size
        place = (volume, index, geometry.position(index), label, names[label])
        measures = (size, size * geometry.voxel_ml, *summary, size * geometry.pixel_cm2)
        slices.append(SliceStatistics(*place, *measures))
    totals = []
    for label, name in names.items():
        if span is None:
            collected = _collect(intensities, values, label)
            size, summary = collected.size, _summary_of_values(collected)
        else:
            size = int(histograms[label].sum())
            summary = _summary_of_counts(histograms[label], span[0])
        totals.append(
            LabelStatistics(volume, label, name, size, size * geometry.voxel_ml, *summary)
        )
    return Statistics(tuple(totals), tuple(slices))


def write_statistics(
    path: str | Path, rows: Sequence[LabelStatistics] | Sequence[SliceStatistics]
) -> None:
    """Write rows, of any number of volumes, as one table: whole or not at all.

    The suffix chooses the format: `.csv` (commas) or `.tsv` (tabs), UTF-8, quoted as in RFC 4180.
    Undefined intensities are empty cells. A text that a spreadsheet would run as a formula (it
    starts with = + - @, a tab or a line break) gets an apostrophe in front, which
    `read_statistics` takes off again.

    Args:
        path: The table to write.
        rows: Rows of one kind, totals or slices; at least one.

    Raises:
        StatisticsError: The suffix is neither, or there is no row, or there are both kinds.
        OSError: The file cannot be written.
    """
    delimiter = _delimiter(path)
    kinds = {type(row) for row in rows}
    if len(kinds) != 1:
        raise StatisticsError(
            f"Expected rows of one kind, found {sorted(kind.__name__ for kind in kinds) or 'none'}."
            " Write totals and slices to a table each."
        )
    columns = [field.name for field in fields(kinds.pop())]
    with (
        atomic_file(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows([_cell(name, getattr(row, name)) for name in columns] for row in rows)


def read_statistics(path: str | Path) -> list[LabelStatistics] | list[SliceStatistics]:
    """Read a table that `write_statistics` wrote; the header tells totals from slices.

    Raises:
        StatisticsError: The suffix, the header or a cell is none that `write_statistics` writes.
        OSError: The file cannot be read.
    """
    with open(path, newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream, delimiter=_delimiter(path))
        header = next(reader, [])
        for kind in (LabelStatistics, SliceStatistics):
            if header == [field.name for field in fields(kind)]:
                break
        else:
            raise StatisticsError(
                f"Expected the columns of totals or of slices in '{path}', found {header}. "
                "Choose a table that DeepTranslate wrote."
            )
        rows = []
        for cells in reader:
            try:
                parsed = (
                    _parse(str(field.type), cell)
                    for field, cell in zip(fields(kind), cells, strict=True)
                )
                rows.append(kind(*parsed))  # type: ignore[arg-type]
            except ValueError as error:
                raise StatisticsError(f"Line {reader.line_num} of '{path}': {error}.") from error
    return rows  # type: ignore[return-value]


class _Slicing:
    """Where slices lie and what a voxel and a pixel measure."""

    def __init__(self, image: Image, axis: int | None) -> None:
        worlds = ["RLAPSI".index(letter) // 2 for letter in image.orientation]
        self.axis = worlds.index(2) if axis is None else axis
        self._world = worlds[self.axis]
        self._image = image
        self._centre = (np.array(image.shape[::-1]) - 1) / 2
        first, second = (image.affine[:3, other] for other in range(3) if other != self.axis)
        self.pixel_cm2 = float(np.linalg.norm(np.cross(first, second))) / 100
        self.voxel_ml = image.voxel_volume_mm3 / 1000

    def position(self, index: int) -> float:
        """Return the RAS coordinate, in mm, of the centre of slice `index`."""
        centre = self._centre.copy()
        centre[self.axis] = index
        return float(self._image.ras(centre)[self._world])


def _summary_of_counts(counts: npt.NDArray[np.int64], lowest: int) -> tuple[float, ...]:
    """Return mean, sd, median, p05 and p95 of values counted from `lowest` upwards."""
    size = int(counts.sum())
    if not size:
        return _UNDEFINED
    values = np.arange(lowest, lowest + counts.size)
    mean = float(counts @ values) / size
    # About the mean, because the sum of squares loses digits where the mean is large.
    deviation = math.sqrt(float(counts @ (values - mean) ** 2) / max(size - 1, 1))
    cumulative = np.cumsum(counts)
    percentiles = []
    for quantile in _QUANTILES:
        ranks, fraction = _ranks(quantile, size)
        low, high = values[np.searchsorted(cumulative, ranks, side="right")]
        percentiles.append(_between(float(low), float(high), fraction))
    return (mean, deviation, *percentiles)


def _summary_of_values(voxels: npt.NDArray[np.generic]) -> tuple[float, ...]:
    """Return mean, sd, median, p05 and p95 of `voxels`, which are reordered in place."""
    if not voxels.size or np.isnan(voxels.min()):
        return _UNDEFINED
    ranks = [_ranks(quantile, voxels.size) for quantile in _QUANTILES]
    voxels.partition(sorted({rank for pair, _ in ranks for rank in pair}))
    mean = float(voxels.mean(dtype=np.float64))
    # Piece by piece: a float64 copy of all voxels would be the largest array here.
    pieces = (voxels[start : start + (1 << 20)] for start in range(0, voxels.size, 1 << 20))
    squares = sum(float(np.sum((piece.astype(np.float64) - mean) ** 2)) for piece in pieces)
    percentiles = (
        _between(float(voxels[low]), float(voxels[high]), fraction)
        for (low, high), fraction in ranks
    )
    return (mean, math.sqrt(squares / max(voxels.size - 1, 1)), *percentiles)


def _collect(
    intensities: npt.NDArray[np.generic], values: npt.NDArray[np.generic], label: int
) -> npt.NDArray[np.generic]:
    """Return the voxels of one label, as `intensities[values == label]` without its volume mask."""
    sizes = [int(np.count_nonzero(plane == label)) for plane in values]
    collected = np.empty(sum(sizes), dtype=intensities.dtype)
    ends = itertools.accumulate(sizes)
    for index, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        collected[end - size : end] = intensities[index][values[index] == label]
    return collected


def _ranks(quantile: float, size: int) -> tuple[list[int], float]:
    """Return the two ranks around a quantile and how far it lies between them."""
    position = (size - 1) * quantile
    low = math.floor(position)
    return [low, min(low + 1, size - 1)], position - low


def _between(low: float, high: float, fraction: float) -> float:
    """Interpolate from the nearer end, as numpy does, so that results agree to the last bit."""
    if fraction < 0.5:
        return low + (high - low) * fraction
    return high - (high - low) * (1 - fraction)


def _countable_range(voxels: npt.NDArray[np.generic]) -> tuple[int, int] | None:
    """Return the lowest and highest value of an integer image that can be counted, else None."""
    if voxels.dtype.kind not in "iu" or not voxels.size:
        return None
    lowest, highest = int(voxels.min()), int(voxels.max())
    return (lowest, highest) if highest - lowest < _MOST_BINS else None


def _mm(image: Image) -> str:
    return " x ".join(f"{value:g}" for value in image.spacing)


def _delimiter(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".tsv"):
        raise StatisticsError(f"Expected a table named *.csv or *.tsv, found '{path}'.")
    return "," if suffix == ".csv" else "\t"


def _cell(column: str, value: str | int | float) -> str:
    if isinstance(value, str):
        # Also where apostrophes already stand in front, or reading could not tell them apart.
        return f"'{value}" if value.lstrip("'").startswith(_FORMULA_STARTS) else value
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return ""
    # Adding zero turns -0.0 into 0.0.
    return f"{round(value, _DECIMALS[column]) + 0.0:.{_DECIMALS[column]}f}"


def _parse(kind: str, cell: str) -> str | int | float:
    if kind == "int":
        return int(cell)
    if kind == "float":
        return float(cell) if cell else math.nan
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'").startswith(_FORMULA_STARTS) else cell
