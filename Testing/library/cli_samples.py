"""What the tests of the command line share: models, a DICOM series, and how a command is run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pydicom
from engine_samples import random_hu

from DeepTranslateLib.cli import main
from DeepTranslateLib.model import Card, write_model

ROOT = Path(__file__).parents[2]


def untrained(path, recipe):
    import torch
    from safetensors.torch import save

    from DeepTranslateLib.engine.networks import build_network

    torch.manual_seed(0)
    card = Card("tiny", "2026-01-01T00:00:00+00:00", "0.1.0", epoch=1, seed=0)
    return write_model(path, recipe, card, save(build_network(recipe).state_dict()))


def write_series(folder, uid, slices=3):
    """A CT series of noise, as SimpleITK's own writer makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(slices):
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = pydicom.uid.CTImageStorage, f"{uid}.{k + 1}"
        ds.Modality, ds.SeriesInstanceUID, ds.SeriesDescription = "CT", uid, f"series {uid}"
        ds.Rows, ds.Columns, ds.SamplesPerPixel = 16, 20, 1
        ds.PhotometricInterpretation, ds.PixelRepresentation = "MONOCHROME2", 1
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 2.5 * k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 2.5
        ds.PixelData = random_hu((1, 16, 20), k).tobytes()
        ds.save_as(folder / f"{uid}-{k}.dcm", enforce_file_format=True)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def run_json(capfd, *arguments):
    """Exit code and events; each line must be strict JSON, the last a result or an error."""
    capfd.readouterr()
    code = run(*arguments, "--json")
    out, err = capfd.readouterr()
    assert err == ""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    events = [json.loads(line, parse_constant=refuse) for line in out.splitlines()]
    assert events[-1]["event"] in ("result", "error")
    return code, events


def fails(capfd, code, *arguments):
    """Run a command that must fail with this code and a paragraph; return it on one line."""
    capfd.readouterr()
    assert run(*arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert "Something unexpected" not in err
    assert err.strip()
    return " ".join(err.split())


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def process(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env=environment, check=False, **options,
    )  # fmt: skip
