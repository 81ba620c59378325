"""Jobs for module tests: without torch, as long as wanted, and what the process table says."""

import os
import subprocess
import time

import numpy as np
import slicer

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.jobs import CheckJob
from DeepTranslateLib.recipe import builtin_recipes, read_recipe
from DeepTranslateLib.schema import to_json

PATIENCE = 120.0


def checkJob(folder, cases=3):
    """The check of a cohort of one image many times: it takes as long as there are cases."""
    folder.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(0).integers(-1000, 1000, (4, 64, 64)).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    write_image(Image(voxels, affine), folder / "image.nrrd")
    write_image(Image((voxels > 900).astype(np.uint8), affine), folder / "labels.nrrd")
    rows = [f"subject{number % 3},image.nrrd,labels.nrrd" for number in range(cases)]
    (folder / "cohort.csv").write_text("\n".join(["subject,image,labels", *rows]) + "\n")
    recipe = read_recipe(sorted(builtin_recipes().values())[0])
    return CheckJob(to_json(recipe), str(folder / "cohort.csv"))


def waitUntil(condition, patience=PATIENCE):
    """Keep the application alive until something is so; fails the test where it never is."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        slicer.app.processEvents()
        time.sleep(0.01)


def living(group):
    """Ids of what runs of a group of processes; one that waits to be collected does not."""
    if os.name == "nt":
        table = subprocess.run(
            ["tasklist", "/FO", "CSV", "/NH"], capture_output=True, text=True, check=True
        )
        return [group] if f'"{group}"' in table.stdout else []
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in table.stdout.splitlines()]
    return [int(pid) for pid, pgid, state in rows if int(pgid) == group and state[0] != "Z"]
