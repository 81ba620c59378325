"""Many inputs through one model: outputs, tables, and failures one by one."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DeepTranslateLib.cli.commands import show_statistics, statistics_json
from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import BAD_INPUT, DONE, PARTLY, CommandError, explain
from DeepTranslateLib.cli.sources import Source, find_sources
from DeepTranslateLib.familiarity import doubts
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.model import Model, read_model
from DeepTranslateLib.recipe import BACKWARD, Recipe
from DeepTranslateLib.statistics import (
    LabelStatistics,
    SliceStatistics,
    Statistics,
    StatisticsError,
    measure,
    read_statistics,
    write_statistics,
)

if TYPE_CHECKING:
    from DeepTranslateLib.engine.translation import Translator

TABLE_NAME = "tissue_volumes.csv"
SLICE_TABLE_NAME = "tissue_volumes_by_slice.csv"
_WRITING_BYTES = 100 * 2**20  # of writing a file, beside a copy of its voxels


def translate_all(options: argparse.Namespace, console: Console) -> int:
    """Translate every input; one that fails does not stop the others."""
    model = read_model(options.model).in_direction(options.direction)
    sources = find_sources(options.inputs, options.output)
    with _tables(options.output) as tables:
        from DeepTranslateLib.engine.device import choose_device
        from DeepTranslateLib.engine.translation import Translator

        translator = Translator.from_model(model, choose_device(options.device), _limit(options))
        options.output.mkdir(parents=True, exist_ok=True)
        return _translate_each(sources, model, translator, tables, options, console)


def _translate_each(
    sources: list[Source],
    model: Model,
    translator: Translator,
    tables: _Tables,
    options: argparse.Namespace,
    console: Console,
) -> int:
    inputs = {source.path.resolve() for source in sources}
    measured: list[LabelStatistics] = []
    failures = []
    for number, source in enumerate(sources, start=1):
        path = str(source.path)
        console.event({"event": "translating", "input": path, "number": number})
        try:
            output = _output(source, model, options, inputs)
            image = _read(source, model, options, console)
            title = f"{number}/{len(sources)} {source.name}"
            with console.progress(title, len(image.voxels), keep=False):
                _refuse_to_write_above(_limit(options), image, model.recipe)
                result = _translated(image, translator, console)
            measured.extend(_write(source, image, result, output, model.recipe, tables))
        except Exception as error:
            message, code = explain(error)
            failures.append({"input": path, "message": message})
            console.error(message if path in message else f"{path}: {message}", code)
            continue
        console.event({"event": "translated", "input": path, "output": str(output)})
        console.say(f"{path} -> {output}")
    if measured:
        console.say("")
        show_statistics(console, measured)
        console.say(f"\nTable: {options.output / TABLE_NAME}")
    console.result(
        {
            "direction": model.direction,
            "rows": statistics_json(measured),
            "failures": failures,
        }
    )
    if not failures:
        return DONE
    return BAD_INPUT if len(failures) == len(sources) else PARTLY


def _output(source: Source, model: Model, options: argparse.Namespace, inputs: set[Path]) -> Path:
    ending = "labels" if model.recipe.target.kind == "labels" else "translated"
    if model.direction == BACKWARD:
        ending += "_to_source"
    output: Path = options.output / f"{source.name}_{ending}.{options.format}"
    if output.resolve() in inputs:
        raise CommandError(f"{output} is an input and would be overwritten. Choose another folder.")
    return output


def _read(source: Source, model: Model, options: argparse.Namespace, console: Console) -> Image:
    with native_silence():
        image = read_image(source.path, series=options.series)
    for doubt in doubts(image, model):
        console.warn(f"{source.path}: {doubt.message}")
    return image


def _limit(options: argparse.Namespace) -> int | None:
    """Bytes that the process may hold."""
    return None if options.memory_limit is None else int(options.memory_limit * 2**30)


def _refuse_to_write_above(limit: int | None, image: Image, recipe: Recipe) -> None:
    """Refuse, before hours of work, a limit that the output will break when it is written."""
    from DeepTranslateLib.engine.memory import refuse_above, resident_memory

    if limit is not None:
        output = image.voxels.size * (1 if recipe.target.kind == "labels" else 4)
        refuse_above(limit, resident_memory() + 2 * output + _WRITING_BYTES)


def _translated(image: Image, translator: Translator, console: Console) -> Image:
    slices = len(image.voxels)
    return translator.translate(
        image, lambda done, total: console.advance_to(done / total * slices)
    )


def _write(
    source: Source, image: Image, result: Image, output: Path, recipe: Recipe, tables: _Tables
) -> tuple[LabelStatistics, ...]:
    """Write the outcome of one input; returns the rows of its labels."""
    statistics = label_statistics(image, result, recipe, source.name)
    write_image(result, output)
    if statistics is None:
        return ()
    tables.add(source.name, statistics)
    return statistics.totals


def label_statistics(image: Image, result: Image, recipe: Recipe, name: str) -> Statistics | None:
    """What the labels of a translation measure; None where it made a volume."""
    if recipe.target.kind != "labels":
        return None
    names = {label.value: label.name for label in recipe.target.labels}
    return measure(image, result, names, volume=name)


class _Tables:
    """The tables of an output folder; rows of volumes translated into it earlier are kept."""

    def __init__(self, folder: Path) -> None:
        self._path, self._slice_path = folder / TABLE_NAME, folder / SLICE_TABLE_NAME
        self._totals = _rows_of(self._path, LabelStatistics)
        self._slices = _rows_of(self._slice_path, SliceStatistics)
        self._slices_changed = False

    def add(self, volume: str, statistics: Statistics) -> None:
        """Put a volume's rows into the tables; that of slices, which grows long, waits."""
        self._totals = [row for row in self._totals if row.volume != volume]
        self._totals.extend(statistics.totals)
        write_statistics(self._path, self._totals)
        self._slices = [row for row in self._slices if row.volume != volume]
        self._slices.extend(statistics.slices)
        self._slices_changed = True

    def finish(self) -> None:
        """Write the table of slices, if it has new rows."""
        if self._slices_changed:
            write_statistics(self._slice_path, self._slices)


@contextmanager
def _tables(folder: Path) -> Iterator[_Tables]:
    tables = _Tables(folder)
    try:
        yield tables
    finally:
        tables.finish()


def _rows_of(path: Path, kind: type[Any]) -> list[Any]:
    """The rows of a table that is there already, so that a damaged one is not overwritten."""
    if not path.is_file():
        return []
    try:
        rows = read_statistics(path)
        if any(type(row) is not kind for row in rows):
            raise StatisticsError("It is a table of another kind.")
    except (StatisticsError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(
            f"{path} is there and is no table that DeepTranslate can go on with ({error}). Move it "
            "away, or choose another output folder."
        ) from error
    return list(rows)
