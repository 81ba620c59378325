"""Translation learnt without pairs on phantoms of heads, whose truth is hidden from training.

T1 of some heads and T2, or CT, of others teach; further heads are translated and held against
their own T2 or CT, which nobody saw; and so from the CT of a treatment machine to CT. Beside the
methods stand the untranslated image, histogram matching, what pairs teach (L1, pix2pix), and the
truth itself as KID, DIG and NSelfSSIM see it.

    python -m Testing.benchmarks.unpaired --method cyclegan unit --pair t1-t2 --seeds 0 1 2
    python -m Testing.benchmarks.unpaired --recipe FILE_OR_NAME --pair t1-ct
    python -m Testing.benchmarks.unpaired --table
    python -m Testing.benchmarks.unpaired --picture
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.metrics.distributions import kernel_distance
from DeepTranslateLib.engine.metrics.extractors import random_extractor
from DeepTranslateLib.engine.metrics.images import volume_metrics
from DeepTranslateLib.engine.metrics.selfsimilarity import (
    gradient_difference,
    normalised_self_ssim,
)
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.phantom_contrasts import HeadPhantom
from DeepTranslateLib.recipe import Recipe, read_recipe
from DeepTranslateLib.schema import to_json
from Testing.benchmarks.denoising_common import picture
from Testing.benchmarks.records import (
    FOLDER,
    Record,
    append_record,
    commit,
    matching,
    read_records,
)
from Testing.benchmarks.sample import machine
from Testing.benchmarks.unpaired_data import (
    USUAL,
    WINDOWS,
    Scale,
    Subjects,
    histogram_matched,
    paired_cohort,
    pooled_values,
    subjects,
    unpaired_cohort,
    untranslated,
)
from Testing.benchmarks.unpaired_recipes import (
    METHODS,
    PAIRS,
    digest,
    for_pair,
    methods_of,
    recipe_of,
)
from Testing.benchmarks.unpaired_segmentor import with_segmentor
from Testing.benchmarks.unpaired_table import (
    BASELINES,
    MATCHED,
    MATCHED_BODY,
    TRUTH,
    UNTRANSLATED,
    table,
)

NAME = "unpaired"
RESULTS = FOLDER / f"{NAME}.jsonl"


def main(arguments: list[str] | None = None) -> None:
    pairs = ["-".join(pair) for pair in PAIRS]
    parser = argparse.ArgumentParser(prog=f"python -m Testing.benchmarks.{NAME}")
    parser.add_argument("--method", nargs="*", choices=tuple(METHODS), help="default: all")
    parser.add_argument("--recipe", nargs="+", default=[], help="built-in names or files instead")
    parser.add_argument("--pair", nargs="+", choices=pairs, default=pairs)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=Path("build") / NAME)
    parser.add_argument("--table", action="store_true", help="print the results, train nothing")
    parser.add_argument("--picture", action="store_true", help="of the first seed; no training")
    options = parser.parse_args([] if arguments is None else arguments)
    if options.picture:
        draw(options)
        return
    if not options.table:
        print(machine(), flush=True)
        for seed in options.seeds:
            for pair in PAIRS:
                if "-".join(pair) in options.pair:
                    run_seed(seed, pair, options)
    print("\n".join(table(read_records(RESULTS))))


def run_seed(
    seed: int,
    pair: tuple[str, str],
    options: argparse.Namespace,
    scale: Scale = USUAL,
    results: Path = RESULTS,
) -> None:
    """Measure whatever has no record yet, of one seed and pair of contrasts.

    Args:
        seed: Of subjects and trainings.
        pair: Source and target contrast.
        options: With `method`, `recipe`, `epochs`, `device` and `output`.
        scale: Of the subjects.
        results: File of the records.
    """
    drawn = subjects(seed, scale)
    shared = {"experiment": NAME, "pair": "-".join(pair), "seed": seed, "data": drawn.digest}
    folder = options.output / shared["pair"] / f"seed_{seed}"

    def keep(method: str, recipe: Recipe | None, images: Callable[[], list[Image]]) -> None:
        key = {**shared, "method": method, "recipe": None if recipe is None else digest(recipe)}
        if matching(read_records(results), **key):
            return
        started = time.process_time()
        made = images()
        record: Record = {**key, "cpu_seconds": round(time.process_time() - started)}
        if recipe is not None:
            record["epochs"] = recipe.training.epochs
        for phantom, image in zip(drawn.test, made, strict=True):
            path = _file(folder, method, phantom)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(image, path)
        record.update(measure(made, drawn, *pair), machine=machine(), commit=commit())
        append_record(results, record)
        print(record, flush=True)

    for method, images in baselines(drawn, *pair).items():
        keep(method, None, images)
    for method, recipe in _wanted(seed, pair, options).items():
        run = folder / "runs" / f"{method.replace(', ', '_')}_{digest(recipe)}"
        keep(method, recipe, lambda: _trained(recipe, drawn, pair, run, options.device))  # noqa: B023


def _file(folder: Path, method: str, phantom: HeadPhantom) -> Path:
    """Where what a method made of a head is kept."""
    return folder / method.replace(", ", "_") / f"{phantom.name}.nrrd"


def _wanted(seed: int, pair: tuple[str, str], options: argparse.Namespace) -> dict[str, Recipe]:
    """The recipes that are asked for, by the name of their rows."""
    if options.recipe:
        return {
            Path(name).stem: for_pair(
                to_json(read_recipe(name)), Path(name).stem, *pair, seed, options.epochs
            )
            for name in options.recipe
        }
    names = [name for name in methods_of(*pair) if options.method is None or name in options.method]
    return {name: recipe_of(name, *pair, seed=seed, epochs=options.epochs) for name in names}


def baselines(drawn: Subjects, source: str, target: str) -> Mapping[str, Callable[[], list[Image]]]:
    """By name what makes the images of the test subjects without a network."""

    def matched(body: bool) -> list[Image]:
        pooled = pooled_values(drawn.target, target, body=body)
        return [
            histogram_matched(each.images[source], pooled, each.body if body else None)
            for each in drawn.test
        ]

    return {
        UNTRANSLATED: lambda: [
            untranslated(each.images[source], source, target) for each in drawn.test
        ],
        MATCHED: lambda: matched(False),
        MATCHED_BODY: lambda: matched(True),
        TRUTH: lambda: [each.images[target] for each in drawn.test],
    }


def _trained(
    recipe: Recipe, drawn: Subjects, pair: tuple[str, str], run: Path, device: str
) -> list[Image]:
    make = unpaired_cohort if recipe.is_unpaired else paired_cohort
    recipe = with_segmentor(recipe, drawn, pair, run.parent / "segmentor", device)

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            print(f"{recipe.name}: {event}", flush=True)

    model = train(recipe, make(drawn, *pair), run, device, watch)
    translator = Translator.from_model(model, choose_device(device))
    return [translator.translate(phantom.images[pair[0]]) for phantom in drawn.test]


def measure(images: Sequence[Image], drawn: Subjects, source: str, target: str) -> dict[str, Any]:
    """Hold translations of the test subjects against their truth, the domain and the source.

    Returns:
        MAE (in the target's unit), SSIM, DIG and NSelfSSIM inside the bodies, means over subjects;
        KID of all their slices to those of the reference subjects.
    """
    rows = []
    for phantom, image in zip(drawn.test, images, strict=True):
        truth, given = phantom.images[target], phantom.images[source]
        body = phantom.body.voxels > 0
        fit = volume_metrics(image, truth, mask=phantom.body, value_range=WINDOWS[target])
        rows.append(
            {
                "mae": fit.mae,
                "ssim": fit.ssim,
                "dig": gradient_difference(given.voxels, image.voxels, body),
                "self_ssim": normalised_self_ssim(
                    given.voxels, image.voxels, body, value_range=WINDOWS[source]
                ),
            }
        )
    extractor = random_extractor(WINDOWS[target])
    mine = np.concatenate([extractor.features(image) for image in images])
    theirs = np.concatenate([extractor.features(each.images[target]) for each in drawn.reference])
    kid = kernel_distance(mine, theirs)
    means = {name: round(float(np.mean([row[name] for row in rows])), 5) for name in rows[0]}
    return {
        **means,
        "kid": round(kid.value, 6),
        "kid_error": round(kid.standard_error, 6),
        "kid_extractor": extractor.name,
    }


def draw(options: argparse.Namespace) -> None:
    """Write a picture: for each pair a row of a slice, its source first, the truth last."""
    seed = options.seeds[0]
    phantom = subjects(seed, Scale(training=0, reference=0)).test[0]
    rows = []
    order = [name for name in (*BASELINES, *METHODS) if name not in (MATCHED_BODY, TRUTH)]
    for pair in PAIRS:
        folder = options.output / "-".join(pair) / f"seed_{seed}"
        paths = [path for name in order if (path := _file(folder, name, phantom)).is_file()]
        if not paths:
            continue
        shown = [(phantom.images[pair[0]], pair[0])]
        shown += [(read_image(path), pair[1]) for path in paths]
        shown.append((phantom.images[pair[1]], pair[1]))
        rows.append([_square(image, contrast) for image, contrast in shown])
    if not rows:
        raise SystemExit(f"{options.output} holds no translations; run the benchmark first.")
    widest = max(len(row) for row in rows)
    rows = [[*row, *[np.zeros_like(row[0])] * (widest - len(row))] for row in rows]
    path = Path(__file__).resolve().parent / "pictures" / f"{NAME}.png"
    picture(rows, [(0, 1)] * len(rows), path)
    print(path)


def _square(image: Image, contrast: str) -> np.ndarray:
    """A slice through the ventricles, twice as large, its window 0 to 1."""
    low, high = WINDOWS[contrast]
    piece = image.voxels[len(image.voxels) * 5 // 8].astype(np.float64)
    return ((piece - low) / (high - low)).clip(0, 1).repeat(2, 0).repeat(2, 1)


if __name__ == "__main__":
    main(sys.argv[1:])
