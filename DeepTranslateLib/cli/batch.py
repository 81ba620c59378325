"""Many inputs through one model: names, outputs, the table, and failures one by one."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DeepTranslateLib.cli.commands import show_statistics, statistics_json
from DeepTranslateLib.cli.console import Console
from DeepTranslateLib.cli.failures import BAD_INPUT, DONE, PARTLY, CommandError, explain
from DeepTranslateLib.image import Image
from DeepTranslateLib.imagefile import image_name, is_image_file, read_image, write_image
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.statistics import LabelStatistics, measure, read_statistics, write_statistics

TABLE_NAME = "tissue_volumes.csv"
SLICE_TABLE_NAME = "tissue_volumes_by_slice.csv"


@dataclass(frozen=True)
class Source:
    """An input and the name that its outputs carry."""

    path: Path
    name: str


def translate_all(options: argparse.Namespace, console: Console) -> int:
    """Translate every input; one that fails does not stop the others."""
    from DeepTranslateLib.model import read_model

    model = read_model(options.model)
    sources = find_sources(options.inputs)
    options.output.mkdir(parents=True, exist_ok=True)
    tables = {
        name: list(read_statistics(options.output / name))
        for name in (TABLE_NAME, SLICE_TABLE_NAME)
        if (options.output / name).is_file()
    }
    from DeepTranslateLib.engine.device import choose_device
    from DeepTranslateLib.engine.translation import Translator

    translator = Translator.from_model(model, choose_device(options.device))
    measured: list[LabelStatistics] = []
    failures = []
    for number, source in enumerate(sources, start=1):
        console.event({"event": "translating", "input": str(source.path), "number": number})
        try:
            output, rows = _translate_one(source, translator, options, console, tables)
        except Exception as error:
            if options.debug:
                raise
            message, code = explain(error)
            failures.append({"input": str(source.path), "message": message})
            console.error(f"{source.path}: {message}", code)
            continue
        measured.extend(rows)
        console.event({"event": "translated", "input": str(source.path), "output": str(output)})
        console.say(f"{source.path} -> {output}")
    if measured:
        console.say("")
        show_statistics(console, measured)
        console.say(f"\nTable: {options.output / TABLE_NAME}")
    console.result({"rows": statistics_json(measured), "failures": failures})
    if not failures:
        return DONE
    return BAD_INPUT if len(failures) == len(sources) else PARTLY


def find_sources(inputs: list[Path]) -> list[Source]:
    """Inputs behind files, DICOM folders and folders of files, each with a name of its own.

    Raises:
        CommandError: A folder holds no images, or two inputs would write the same file.
    """
    paths: list[Path] = []
    for given in inputs:
        if not given.is_dir():
            paths.append(given)
            continue
        files = sorted(p for p in given.iterdir() if p.is_file() and not p.name.startswith("."))
        images = [path for path in files if is_image_file(path) and image_name(path) != path.name]
        folders = sorted(path for path in given.iterdir() if path.is_dir())
        if images:
            paths.extend(images)
        elif any(is_image_file(path) for path in files):
            paths.append(given)
        elif folders:
            paths.extend(source.path for source in find_sources(list(folders)))
        else:
            raise CommandError(
                f"The folder {given} holds no images: expected NRRD, NIfTI or MetaImage files, or "
                "a DICOM series."
            )
    paths = list(dict.fromkeys(paths))
    names = [image_name(path) for path in paths]
    often = Counter(names)
    names = [
        f"{path.resolve().parent.name}_{name}" if often[name] > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CommandError(
            f"Several inputs are called '{twice[0]}' and would write the same file. Rename them, "
            "or translate them into different output folders."
        )
    return [Source(path, name) for path, name in zip(paths, names, strict=True)]


def _translate_one(
    source: Source,
    translator: Any,
    options: argparse.Namespace,
    console: Console,
    tables: dict[str, list[Any]],
) -> tuple[Path, list[LabelStatistics]]:
    from DeepTranslateLib.hounsfield import why_not_hounsfield

    recipe: Recipe = translator.recipe
    image = read_image(source.path, series=options.series)
    if recipe.inputs[0].units == "HU":
        doubt = why_not_hounsfield(image.voxels)
        if doubt is not None:
            console.warn(f"{source.path}: {' '.join(doubt)}")
    with console.progress(source.name, len(image.voxels)):
        result: Image = translator.translate(
            image, lambda done, total: console.advance_to(done / total * len(image.voxels))
        )
    is_labels = recipe.target.kind == "labels"
    ending = "labels" if is_labels else "translated"
    output = options.output / f"{source.name}_{ending}.{options.format}"
    if output.exists() and output.resolve() == source.path.resolve():
        raise CommandError("The output would overwrite its own input. Choose another --output.")
    if not is_labels:
        write_image(result, output)
        return output, []
    names = {label.value: label.name for label in recipe.target.labels}
    statistics = measure(image, result, names, volume=source.name)
    write_image(result, output)
    for table, rows in ((TABLE_NAME, statistics.totals), (SLICE_TABLE_NAME, statistics.slices)):
        # Rows of volumes translated earlier into this folder are kept.
        kept = [row for row in tables.get(table, []) if row.volume != source.name]
        tables[table] = [*kept, *rows]
        write_statistics(options.output / table, tables[table])
    return output, list(statistics.totals)
