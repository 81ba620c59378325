"""The pictures of the README's tutorial: it is done here, click by click, on the test host.

python -m Testing.screenshots                  # trains as the tutorial says: minutes
python -m Testing.screenshots --model FILE     # trains a few epochs, goes on with this model
"""

import argparse
import importlib.metadata
import shutil
import tempfile
import time
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, WHOLE, PANEL = 1440, 900, 1300, 480
EPOCHS = 150
# Where the training is pictured: curves long enough to be seen.
PICTURED_EPOCH = 40


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, help="go on with this model")
    options.add_argument("--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    Tutorial(options.parse_args()).run()


class Tutorial:
    """The tutorial's steps, each with its picture."""

    def __init__(self, options):
        from Testing.host import gui

        self.gui, self.options = gui, options
        # A plain path, since it is seen in the pictures.
        self.folder = Path(tempfile.gettempdir()) / "DeepTranslate"
        self.folder.mkdir()
        self.app = gui.start()
        for name in ("DeepTranslate", "DeepTranslateTrain"):
            gui.loadModule(ROOT / "DeepTranslate" / f"{name}.py")
        self.app.startupCompleted()
        import slicer

        from DeepTranslateLib.mrml.modellibrary import setModelsFolder

        self.slicer = slicer
        (self.folder / "models").mkdir()
        setModelsFolder(self.folder / "models")
        self.app.userSettings().setValue("DeepTranslate/RunsFolder", str(self.folder / "runs"))
        options.output.mkdir(parents=True, exist_ok=True)

    def run(self):
        try:
            self.install()
            self.label()
            model = self.train()
            self.translate(model)
            self.batch()
        finally:
            from DeepTranslateLib.mrml.jobs import shutDown

            shutDown()
            shutil.rmtree(self.folder, ignore_errors=True)

    def picture(self, name, isWhole=False):
        """The main window as it is now, high enough for the whole panel or not."""
        from Testing.host.screenshot import windowPicture

        self.wait(seconds=0.3)
        path = self.options.output / f"{name}.png"
        windowPicture(str(path), size=(WIDTH, WHOLE if isWhole else HEIGHT), panelWidth=PANEL)
        print(path, flush=True)

    def wait(self, condition=lambda: False, seconds=3600.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not condition():
            self.app.processEvents()
            time.sleep(0.02)

    def install(self):
        """The banner, as it is where nothing is installed."""
        version = importlib.metadata.version

        def bare(name):
            if name.lower() in ("torch", "monai", "safetensors"):
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        with mock.patch("importlib.metadata.version", bare):
            self.gui.selectModule("DeepTranslate")
            self.picture("install")
        self.gui.selectModule("DeepTranslate").enter()

    def label(self):
        """Three subjects, 17 labelled slices, in the Train panel."""
        from DeepTranslateLib.mrml.sampledata import loadLabelledTorsos

        nodes = loadLabelledTorsos()
        self.panel = self.gui.selectModule("DeepTranslateTrain")
        self.panel.builder.addFromSceneButton.click()
        self.panel.check.button.click()
        self.wait(lambda: not self.panel.slot.busy)
        self.showLabelledSlice(*nodes[:2])
        self.picture("train", isWhole=True)

    def showLabelledSlice(self, volumeNode, segmentationNode):
        from DeepTranslateLib.mrml.segmentations import labelMapFromSegmentation, segmentsOf

        slicer = self.slicer
        values = {segment.id: 1 for segment in segmentsOf(segmentationNode)}
        labels, _overlaps = labelMapFromSegmentation(segmentationNode, volumeNode, values)
        for other in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            other.SetDisplayVisibility(other is segmentationNode)
        marked = labels.voxels.any(axis=(1, 2)).nonzero()[0]
        height = labels.ras([0, 0, marked[len(marked) // 2]])[2]
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
        slicer.app.layoutManager().sliceWidget("Red").sliceLogic().SetSliceOffset(height)

    def train(self):
        """The curves and the preview of a training; returns its model, or the one given."""
        panel, ui = self.panel, self.panel.ui
        recipe = panel.recipes.recipe().with_training(epochs=EPOCHS)
        panel.recipes.setRecipe(recipe)
        run = self.folder / "runs" / "torso"
        ui.runFolderEdit.currentPath = str(run)
        assert ui.trainButton.enabled, ui.summaryLabel.text
        ui.trainButton.click()
        events = run / "events.jsonl"

        def epochs():
            return events.read_text().count('"event": "epoch"') if events.is_file() else 0

        self.wait(lambda: epochs() >= PICTURED_EPOCH or not panel.slot.busy)
        self.picture("training", isWhole=True)
        if self.options.model:
            panel.onCancelTraining()
        self.wait(lambda: not panel.slot.busy)
        return self.options.model or run / "model.dtmodel"

    def translate(self, model):
        """A subject that taught nothing: before Apply, and what comes of it."""
        from DeepTranslateLib.mrml.modellibrary import addModel
        from DeepTranslateLib.mrml.sampledata import loadTorso

        slicer = self.slicer
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            node.SetDisplayVisibility(False)
        (volumeNode,) = loadTorso()
        addModel(model)
        panel = self.gui.selectModule("DeepTranslate")
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        slicer.util.setSliceViewerLayers(background=volumeNode, foreground=None, fit=True)
        panel.inputs.setVolumeNode(0, volumeNode)
        panel.ui.closedSurfaceCheckBox.checked = True
        self.picture("translate")
        panel.ui.applyButton.click()
        self.wait(lambda: panel.monitor.translation is None)
        view = slicer.app.layoutManager().threeDWidget(0)
        view.mrmlViewNode().SetBoxVisible(False)
        view.mrmlViewNode().SetAxisLabelsVisible(False)
        slicer.app.layoutManager().resetThreeDViews()
        self.picture("result")

    def batch(self):
        """All volumes of the scene, a row for each."""
        panel = self.gui.selectModule("DeepTranslate")
        panel.ui.tabWidget.currentIndex = 1
        panel.ui.applyButton.click()
        self.wait(lambda: panel.monitor.translation is None)
        self.picture("batch")


if __name__ == "__main__":
    main()
