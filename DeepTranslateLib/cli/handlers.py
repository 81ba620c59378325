"""What the worker does for each kind of job."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DeepTranslateLib.jobs.descriptions import (
    AugmentJob,
    CheckJob,
    EstimateJob,
    ExportJob,
    Job,
    TrainJob,
    TranslateJob,
    job_kind,
)
from DeepTranslateLib.jobs.events import Events, EventSink, Stopped
from DeepTranslateLib.jobs.report import JobError
from DeepTranslateLib.schema import to_json

if TYPE_CHECKING:
    from DeepTranslateLib.cohort import Cohort
    from DeepTranslateLib.engine.translation import Translator
    from DeepTranslateLib.image import Image
    from DeepTranslateLib.model import Model
    from DeepTranslateLib.recipe import Recipe

_SECONDS_BETWEEN_EVENTS = 0.1


@dataclass
class JobContext:
    """A job's folder, its listener, and whether it shall stop."""

    folder: Path
    sink: EventSink
    should_stop: Callable[[], bool]
    _stage: str = ""
    _told_at: float = 0.0

    def path(self, text: str) -> Path:
        """A path of the job; relative ones begin in its folder."""
        return self.folder / text

    def stop_if_asked(self) -> None:
        """Raise Stopped where the job was asked to stop."""
        if self.should_stop():
            raise Stopped("stopped")

    def progress(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Say how far a stage is, at most ten times a second; stops the job if it shall."""
        self.stop_if_asked()
        now = time.monotonic()
        if stage != self._stage or done == total or now - self._told_at >= _SECONDS_BETWEEN_EVENTS:
            self._stage, self._told_at = stage, now
            Events(sink=self.sink).emit("progress", stage=stage, done=done, total=total)


class Handlers:
    """Does jobs; keeps the network of the last translation for the next."""

    def __init__(self) -> None:
        self._translator: tuple[object, Translator] | None = None

    def do(self, job: Job, context: JobContext) -> dict[str, Any]:
        """The result of a job.

        Raises:
            Stopped: It was asked to stop.
            Exception: Whatever went wrong; `failures.explain` words it.
        """
        result: dict[str, Any] = getattr(self, f"_{job_kind(job)}")(job, context)
        return result

    def _translate(self, job: TranslateJob, context: JobContext) -> dict[str, Any]:
        from DeepTranslateLib.cli.batch import label_statistics
        from DeepTranslateLib.cli.commands import statistics_json
        from DeepTranslateLib.image.files import write_image
        from DeepTranslateLib.model import read_model

        started = time.monotonic()
        model = read_model(context.path(job.model)).in_direction(job.direction)
        images = _images(job, model.recipe, context)
        context.progress("loading the model")
        translator, device = self._translator_of(model, job.device)
        context.progress("translating")
        result = translator.translate(
            images[0], lambda done, total: context.progress("translating", done, total)
        )
        context.progress("measuring")
        statistics = label_statistics(images[0], result, model.recipe, job.name)
        context.progress("writing")
        output = context.path(job.output)
        inside = output.resolve().is_relative_to(context.folder.resolve())
        output.parent.mkdir(parents=True, exist_ok=True)
        # Panels read it once, at once; a person keeps it.
        write_image(result, output, compressed=not inside)
        return {
            "output": str(output),
            "totals": statistics_json(statistics.totals if statistics else ()),
            "slices": statistics_json(statistics.slices if statistics else ()),
            "seconds": round(time.monotonic() - started, 3),
            "device": device,
            "direction": model.direction,
        }

    def _translator_of(self, model: Model, device_name: str) -> tuple[Translator, str]:
        """A model's translator, and the device it is on."""
        from DeepTranslateLib.engine.device import choose_device
        from DeepTranslateLib.engine.translation import Translator

        device = choose_device(device_name)
        file = model.path.stat()
        state = (file.st_mtime_ns, file.st_size)
        key = (model.path.resolve(), *state, model.direction, str(device))
        if self._translator is None or self._translator[0] != key:
            self._translator = None  # its memory is needed for the next
            self._translator = (key, Translator.from_model(model, device))
        return self._translator[1], str(device)

    def _train(self, job: TrainJob, context: JobContext) -> dict[str, Any]:
        from DeepTranslateLib.model import read_model

        recipe, cohort = _recipe(job.recipe), _cohort(job.cohort, context)
        initial = None
        if job.initial_model is not None:
            initial = read_model(context.path(job.initial_model))
        fixed = () if initial is None else ("network",)
        recipe = _configured(recipe, cohort, context, context.folder, fixed)
        self._translator = None
        from DeepTranslateLib.engine.run import train

        ended_early = False

        def listen(event: dict[str, Any]) -> None:
            nonlocal ended_early
            ended_early = ended_early or bool(event.get("finished_early"))
            context.sink(event)

        model = train(
            recipe,
            cohort,
            context.folder,
            device=job.device,
            sink=listen,
            should_stop=context.should_stop,
            initial=initial,
            transfer=job.transfer,
        )
        return {
            "model": str(model.path),
            "best_epoch": model.card.epoch,
            "metrics": model.card.metrics,
            "finished": not ended_early,
        }

    def _check(self, job: CheckJob, context: JobContext) -> dict[str, Any]:
        from DeepTranslateLib.cohort import CohortError, Split, split_for
        from DeepTranslateLib.cohort.check import check_cohort
        from DeepTranslateLib.image import ImageError

        recipe, cohort = _recipe(job.recipe), _cohort(job.cohort, context)
        cause: Exception | None = None
        try:
            recipe = _configured(recipe, cohort, context)
        except (CohortError, ImageError, OSError) as error:
            cause = error  # the check says more
        total = len(cohort.cases)
        context.progress("checking", 0, total)
        faults = check_cohort(
            cohort, recipe, lambda done: context.progress("checking", done, total)
        )
        if cause is not None and not any(fault.severity == "error" for fault in faults):
            raise cause
        try:
            split = split_for(cohort, recipe)
        except (CohortError, ImageError, OSError) as error:
            # Nothing to split; what stands in the way is among the faults, or is said here.
            split = Split((), (), (), str(error))
        return {"faults": to_json(faults), "split": {**split.to_json(), "note": split.note}}

    def _estimate(self, job: EstimateJob, context: JobContext) -> dict[str, Any]:
        cohort = _cohort(job.cohort, context)
        recipe = _configured(_recipe(job.recipe), cohort, context)
        self._translator = None
        from DeepTranslateLib.engine.estimate import estimate

        return dict(estimate(recipe, cohort, job.device))

    def _augment(self, job: AugmentJob, context: JobContext) -> dict[str, Any]:
        import numpy as np

        from DeepTranslateLib.atomic import atomic_file
        from DeepTranslateLib.cohort import cohort_from_lists
        from DeepTranslateLib.image.files import read_image

        image, target = (read_image(context.path(p)) for p in (job.image, job.target))
        cohort = cohort_from_lists([image], [target], ["the slice's"])
        recipe = _configured(_recipe(job.recipe), cohort, context)
        context.stop_if_asked()
        from DeepTranslateLib.engine.augment_preview import augmented

        arrays: dict[str, Any] = augmented(recipe, image, target, job.slice, job.seed, job.count)
        name = "augmented.npz"
        with atomic_file(context.folder / name) as temporary:
            np.savez(temporary, **arrays)
        return {"file": name}

    def _export(self, job: ExportJob, context: JobContext) -> dict[str, Any]:
        from DeepTranslateLib.engine.export import export_model

        output = context.path(job.output)
        output.parent.mkdir(parents=True, exist_ok=True)
        return {"model": str(export_model(context.path(job.run), job.epoch, output))}


def _recipe(content: dict[str, Any]) -> Recipe:
    from DeepTranslateLib.recipe import recipe_from_json

    return recipe_from_json(content)


def _cohort(text: str, context: JobContext) -> Cohort:
    from DeepTranslateLib.cohort import read_cohort

    return read_cohort(context.path(text))


def _configured(
    recipe: Recipe,
    cohort: Cohort,
    context: JobContext,
    run: Path | None = None,
    fixed: tuple[str, ...] = (),
) -> Recipe:
    """A recipe that says everything; what was chosen for the cohort is told."""
    from DeepTranslateLib.configuration import configured

    if recipe.is_configured:
        return recipe
    context.progress("measuring the images")
    proposal = configured(recipe, cohort, run, fixed)
    Events(sink=context.sink).emit(
        "configured", recipe=to_json(proposal.recipe), reasons=to_json(proposal.reasons)
    )
    return proposal.recipe


def _images(job: TranslateJob, recipe: Recipe, context: JobContext) -> list[Image]:
    """The images of a recipe's inputs, in its order."""
    from DeepTranslateLib.image.files import read_image

    wanted = [entry.name for entry in recipe.inputs]
    if sorted(wanted) != sorted(job.images):
        raise JobError(
            f"The model needs an image for each of its inputs ({', '.join(wanted)}), and the job "
            f"has {', '.join(job.images) or 'none'}. Choose one volume for each."
        )
    images = []
    for number, name in enumerate(wanted):
        context.progress("reading", number, len(wanted))
        images.append(read_image(context.path(job.images[name])))
    return images
