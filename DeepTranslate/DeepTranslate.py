"""Translate: apply a trained model to the volumes of the scene, or to a folder of images."""

import sys
import time
import traceback
from pathlib import Path

import slicer
from slicer import (
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import DeepTranslateLib  # noqa: F401
except ImportError:  # in a checkout, the library lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


class DeepTranslate(ScriptedLoadableModule):
    """What Slicer shows about the module before its panel is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("DeepTranslate")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["DeepTranslate contributors"]
        self.parent.helpText = _(
            "Turns one medical image into another with a trained model: CT into tissue labels "
            "with their volumes, noisy into clean, one contrast into another. Choose a model and "
            "a volume, and click Apply; the Batch tab does the same for many volumes. Models are "
            "trained in the module DeepTranslate Train. "
            '<a href="https://github.com/DeepTranslate/DeepTranslate#readme">Documentation</a>'
        )
        self.parent.acknowledgementText = _(
            "The method for body composition follows Ye RZ et al. DeepImageTranslator: a free, "
            "user-friendly graphical interface for image translation using deep-learning and its "
            "applications in 3D CT image analysis. bioRxiv 2021, doi:10.1101/2021.05.15.444315."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Add this extension's images to the Sample Data module."""
    from DeepTranslateLib.mrml import sampledata

    sampledata.registerSampleData()


@parameterNodeWrapper
class DeepTranslateParameterNode:
    """The choices that a scene file keeps; the input volumes are node references beside them.

    model: File name of the model in the library.
    component: Component of volumes that have several.
    allFrames: Every frame of a sequence, not only the one that is shown.
    """

    model: str
    component: int
    allFrames: bool = True
    outputSegmentation: vtkMRMLSegmentationNode
    outputVolume: vtkMRMLScalarVolumeNode
    outputTable: vtkMRMLTableNode
    closedSurface: bool = False
    device: str = "auto"


class DeepTranslateWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. What it shows lies in DeepTranslateLib.mrml.panels; here it is wired."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._updating = False
        self._translation = None
        self._batchRows = None
        self._started = 0.0
        self._doubtsKey = None
        self._errorDialog = None

    def setup(self):
        """Build the panel."""
        from DeepTranslateLib.mrml.installing import Installation
        from DeepTranslateLib.mrml.panels.batchtable import BatchTable
        from DeepTranslateLib.mrml.panels.inputselectors import InputSelectors
        from DeepTranslateLib.mrml.panels.installbanner import InstallBanner
        from DeepTranslateLib.mrml.panels.jobprogress import JobProgress
        from DeepTranslateLib.mrml.panels.modelselector import ModelSelector

        ScriptedLoadableModuleWidget.setup(self)
        self._updating = True
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DeepTranslate.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.logic = DeepTranslateLogic()
        self.installation = Installation()
        self._isInstalled = True
        self.banner = InstallBanner(self.ui.bannerContainer.layout(), self._checkInstallation)
        self.models = ModelSelector(
            self.ui.modelSection.layout(), self._onModelChanged, self._showError
        )
        self.models.acceptDrops(uiWidget)
        self.inputs = InputSelectors(self.ui.inputContainer.layout(), self._onInputChanged)
        self.batch = BatchTable(self.ui.batchTab.layout(), self._updateGui)
        self.progress = JobProgress(self.ui.progressContainer.layout(), self.onCancel)
        self._setupAdvanced()
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.inputs.setMRMLScene(slicer.mrmlScene)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.ui.applyButton.connect("clicked()", self.onApply)
        self.ui.copyScriptButton.connect("clicked()", self.onCopyScript)
        self.ui.tabWidget.connect("currentChanged(int)", self._onTabChanged)
        for selector in (self.ui.outputSegmentationSelector, self.ui.outputVolumeSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._updateGui())
        self.batch.table.connect("cellDoubleClicked(int,int)", self._onRowDoubleClicked)
        self._updating = False
        self._outcomes = {}
        self.ui.resultLabel.text = ""
        self.initializeParameterNode()

    def _setupAdvanced(self):
        from DeepTranslateLib.mrml.modellibrary import modelsFolder

        devices = (
            (_("Automatic"), "auto"),
            (_("Processor (CPU)"), "cpu"),
            (_("NVIDIA graphics card (CUDA)"), "cuda"),
            (_("Apple graphics card (MPS)"), "mps"),
        )
        for text, device in devices:
            self.ui.deviceComboBox.addItem(text, device)
        settings = slicer.app.userSettings()
        self.ui.modelsFolderEdit.filters = self.ui.modelsFolderEdit.Dirs
        self.ui.modelsFolderEdit.currentPath = str(modelsFolder())
        self.ui.workerPythonEdit.filters = self.ui.workerPythonEdit.Files
        self.ui.workerPythonEdit.currentPath = settings.value("DeepTranslate/WorkerPython", "")
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self._onDeviceChanged)
        self.ui.modelsFolderEdit.connect("currentPathChanged(QString)", self._onModelsFolder)
        self.ui.workerPythonEdit.connect("currentPathChanged(QString)", self._onWorkerPython)

    def cleanup(self):
        """End what runs, before the module is reloaded or the application closes."""
        self.onCancel()
        self.removeObservers()
        self.setParameterNode(None)

    def enter(self):
        """Look again at what may have changed while another module was shown."""
        self.initializeParameterNode()
        self.banner.refresh()
        if self._translation is None:
            self.batch.refresh()
        self._checkInstallation()

    def exit(self):
        """Leave the panel; a translation goes on."""
        if self._parameterNode is not None and self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self._parameterNode = None

    def onReload(self):
        """Load the library anew with the module."""
        from DeepTranslateLib.mrml.jobs import shutDown

        shutDown()
        for name in [name for name in sys.modules if name.split(".")[0] == "DeepTranslateLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        """Let go of the parameter node; what runs is cancelled by the translation itself."""
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        """Begin with an empty scene."""
        self.ui.resultLabel.text = ""
        self._outcomes = {}
        if self.parent.isEntered:
            self.initializeParameterNode()
        self.batch.refresh()

    def onSceneEndImport(self, caller, event):
        """Show the choices that came with the scene."""
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()
            self.batch.refresh()

    # ------------------------------------------------------------------------------ parameters

    def initializeParameterNode(self):
        """Take the choices of the scene, and a volume where none is chosen."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        """Show the choices of a parameter node and write changes to it."""
        if self._parameterNode is not None and self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
        self._parameterNode = parameterNode
        self._parameterNodeGuiTag = None
        if parameterNode is None:
            return
        self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
        self._updating = True
        node = parameterNode.parameterNode
        self.ui.deviceComboBox.currentIndex = max(
            0, self.ui.deviceComboBox.findData(parameterNode.device)
        )
        self.models.refresh(parameterNode.model or None)
        if self.models.model is not None:
            self.inputs.setInputs(self.models.model.recipe.inputs)
        chosen = [node.GetNodeReference(f"input{number}") for number in range(8)]
        if chosen[0] is None:
            chosen[0] = _likelyVolume()
        for number, volumeNode in enumerate(chosen):
            if volumeNode is not None:
                self.inputs.setVolumeNode(number, volumeNode)
        self.inputs.refresh()
        self.inputs.setComponent(parameterNode.component)
        self._updating = False
        self._keepChoices()
        self._updateGui()

    def _keepChoices(self):
        """Write to the parameter node what no widget of it does by itself."""
        if self._parameterNode is None or self._updating:
            return
        node = self._parameterNode.parameterNode
        if self.models.model is not None:
            self._parameterNode.model = self.models.fileName
        for number, volumeNode in enumerate(self.inputs.volumeNodes.values()):
            node.SetNodeReferenceID(
                f"input{number}", volumeNode.GetID() if volumeNode is not None else None
            )
        self._parameterNode.component = self.inputs.component or 0
        self._parameterNode.device = self._device

    @property
    def _device(self):
        return self.ui.deviceComboBox.itemData(self.ui.deviceComboBox.currentIndex)

    @property
    def _isBatch(self):
        return self.ui.tabWidget.currentIndex == 1

    def _onModelChanged(self):
        if self._updating:
            return
        model = self.models.model
        if model is not None:
            self.inputs.setInputs(model.recipe.inputs)
        self._keepChoices()
        self._updateGui()

    def _onInputChanged(self):
        self._keepChoices()
        self._updateGui()

    def _onDeviceChanged(self, index):
        self._keepChoices()

    def _onTabChanged(self, index):
        if self._isBatch and self._translation is None:
            self.batch.refresh()
        self._updateGui()

    def _onModelsFolder(self, path):
        from DeepTranslateLib.mrml.modellibrary import setModelsFolder

        setModelsFolder(path)
        self.models.refresh()

    def _onWorkerPython(self, path):
        from DeepTranslateLib.mrml.jobs import shutDown

        slicer.app.userSettings().setValue("DeepTranslate/WorkerPython", path)
        if self._translation is None:
            shutDown()  # the next job starts the other Python
        self.banner.refresh()
        self._checkInstallation()

    # ------------------------------------------------------------------------------ what to show

    def _updateGui(self):
        if self._updating:
            return
        model = self.models.model
        makesLabels = model is None or model.recipe.target.kind == "labels"
        for widget in (
            self.ui.outputSegmentationLabel,
            self.ui.outputSegmentationSelector,
            self.ui.outputTableLabel,
            self.ui.outputTableSelector,
            self.ui.closedSurfaceCheckBox,
        ):
            widget.visible = makesLabels
        for widget in (self.ui.outputVolumeLabel, self.ui.outputVolumeSelector):
            widget.visible = not makesLabels
        first = next(iter(self.inputs.volumeNodes.values()), None)
        self.ui.allFramesCheckBox.visible = self._isPlayed(first)
        self._updateDoubts(model, first)
        missing = self._whatIsMissing(model)
        self.ui.applyButton.enabled = not missing
        self.ui.applyButton.toolTip = missing or _("Apply the model")
        running = self._translation is not None
        self.ui.hintLabel.text = "" if running else missing
        self.ui.hintLabel.visible = bool(missing) and not running
        count = len(self.batch.checkedRows())
        self.ui.applyButton.text = (
            _("Apply to {count} volumes").format(count=count) if self._isBatch else _("Apply")
        )
        self.ui.copyScriptButton.enabled = not missing or running
        self.ui.resultLabel.visible = bool(self.ui.resultLabel.text)

    def _checkInstallation(self):
        from DeepTranslateLib.mrml.installing import InstallError

        try:
            self._isInstalled = self.installation.isReady
        except InstallError:
            self._isInstalled = False
        self._updateGui()

    def _isPlayed(self, volumeNode):
        from DeepTranslateLib.mrml.sequences import isSequence

        return isSequence(volumeNode)

    def _whatIsMissing(self, model):
        """Why Apply cannot be clicked, as a sentence; empty when it can."""
        if self._translation is not None:
            return _("A translation is running.")
        if model is None:
            return _("Choose a model first: train one, or add a model file.")
        if not self._isInstalled:
            return _("Install what is missing first, with the button at the top.")
        if self._isBatch:
            return self._whatBatchMisses(model)
        volumes = self.inputs.volumeNodes
        for name, volumeNode in volumes.items():
            if volumeNode is None:
                what = "" if len(volumes) == 1 else f" ({name})"
                return _("Choose the volume that is to be translated{what}.").format(what=what)
        output = self.ui.outputVolumeSelector.currentNode()
        if model.recipe.target.kind == "volume" and output in volumes.values():
            return _("The output would overwrite the input. Choose another output volume.")
        return ""

    def _whatBatchMisses(self, model):
        if len(model.recipe.inputs) > 1:
            return _("This model needs several volumes at a time; use the tab for one volume.")
        if self.batch.problem:
            return self.batch.problem
        if not self.batch.checkedRows():
            return _("Check at least one volume.")
        if self.batch.mode == "folder" and self.batch.outputFolder is None:
            return _("Choose an output folder.")
        return ""

    def _updateDoubts(self, model, volumeNode):
        """Warn where the volume does not look like what the model was trained on."""
        from DeepTranslateLib.familiarity import doubts
        from DeepTranslateLib.mrml.volumes import VolumeError, imageFromVolume

        component = self.inputs.component
        image = volumeNode.GetImageData() if volumeNode is not None else None
        key = (model, volumeNode, image, image.GetMTime() if image else 0, component)
        if key == self._doubtsKey:
            return
        self._doubtsKey = key
        messages = []
        if model is not None and volumeNode is not None:
            try:
                with slicer.util.WaitCursor():
                    found = doubts(imageFromVolume(volumeNode, component), model)
                messages = [doubt.message for doubt in found]
            except VolumeError as error:
                messages = [str(error)]
        self.ui.warningLabel.text = "<br>".join(f"&#9888; {message}" for message in messages)
        self.ui.warningLabel.visible = bool(messages)

    # ------------------------------------------------------------------------------ running

    def _request(self):
        """What the panel says, as arguments of translate."""
        options = {"device": self._device}
        if self._isBatch:
            sources = self.batch.checkedSources()
            if self.batch.mode == "folder":
                options["outputFolder"] = str(self.batch.outputFolder)
        else:
            volumes = self.inputs.volumeNodes
            sources = volumes if len(volumes) > 1 else next(iter(volumes.values()))
            if self.models.model.recipe.target.kind == "labels":
                output = self.ui.outputSegmentationSelector.currentNode()
                options["table"] = self.ui.outputTableSelector.currentNode()
                options["closedSurface"] = self.ui.closedSurfaceCheckBox.checked
            else:
                output = self.ui.outputVolumeSelector.currentNode()
            isSequence = self._isPlayed(next(iter(volumes.values())))
            options["component"] = self.inputs.component
            if isSequence:
                options["allFrames"] = self.ui.allFramesCheckBox.checked
            if not (isSequence and options["allFrames"]):
                options["output"] = output
        return sources, options

    def onApply(self):
        """Start; returns at once, and the panel stays usable."""
        sources, options = self._request()
        self._batchRows = self.batch.checkedRows() if self._isBatch else None
        self._inputNode = None if self._isBatch else next(iter(self.inputs.volumeNodes.values()))
        self.ui.resultLabel.text = ""
        self._started = time.monotonic()
        self._outcomes = {}
        if self._isBatch:
            self.batch.clearOutcomes()
            for row in self._batchRows:
                self.batch.showState(row, _("waiting"))
        try:
            self._translation = self.logic.startTranslation(
                sources,
                self.models.model,
                onEvent=self._onEvent,
                onItem=self._onItem,
                onFinished=self._onFinished,
                **options,
            )
        except (ValueError, OSError) as error:
            self._showError(error)
            return
        self.progress.start(_("Starting"))
        self.batch.setEditable(False)
        self._updateGui()

    def onCancel(self):
        """Stop what runs; volumes that are finished stay."""
        if self._translation is not None:
            self._translation.cancel()

    def onCopyScript(self):
        """Copy a script to the clipboard that does what Apply would do."""
        from DeepTranslateLib.mrml.translationscript import translationScript

        sources, options = self._request()
        script = translationScript(sources, self.models.model, **options)
        slicer.app.clipboard().setText(script)
        self.ui.resultLabel.text = _("The script is in the clipboard: paste it where you like.")
        self.ui.resultLabel.visible = True

    def _onEvent(self, event):
        if event["event"] != "progress":
            return
        stages = {
            "reading": _("Reading"),
            "loading the model": _("Loading the model"),
            "translating": _("Translating"),
            "writing": _("Writing"),
            "measuring": _("Measuring"),
        }
        stage = stages.get(event["stage"], event["stage"])
        done, total = event["done"], event["total"]
        fraction = done / total if total else 0.0
        if self._batchRows is not None:
            row, count = event["item"], len(self._batchRows)
            text = f"{round(100 * fraction)} %" if event["stage"] == "translating" else stage
            self.batch.showState(self._batchRows[row], text)
            stage = f"{row + 1}/{count} {event['name']}: {stage}"
            fraction = (row + fraction) / count
        self.progress.update(stage, done, total, _("slices"), fraction)

    def _onItem(self, index, state, outcome):
        if self._batchRows is None:
            return
        row = self._batchRows[index]
        texts = {
            "running": _("starting"),
            "done": _("done"),
            "failed": _("failed"),
            "cancelled": _("cancelled"),
        }
        reason = outcome.error if outcome is not None else ""
        self.batch.showState(row, texts[state], reason, state == "failed", state == "done")
        if outcome is not None and state == "done":
            self._outcomes[row] = outcome
            self.batch.showOutcome(row, outcome)
        elif state == "failed":
            self.batch.showReason(row, reason)

    def _onFinished(self, outcomes):
        from DeepTranslateLib.mrml.panels.translationresult import (
            batchText,
            showInViews,
            showTable,
            summaryText,
        )

        translation, self._translation = self._translation, None
        seconds = time.monotonic() - self._started
        self.progress.finish()
        self.batch.setEditable(True)
        if self._batchRows is not None:
            self.ui.resultLabel.text = batchText(outcomes, translation.states, seconds)
            if translation.tableNode is not None and translation.tableNode.GetScene() is not None:
                showTable(translation.tableNode)
        elif translation.states == ["done"]:
            (outcome,) = outcomes
            self.ui.resultLabel.text = summaryText(outcome, translation.model)
            showInViews(outcome, self._inputNode)
        elif translation.states == ["cancelled"]:
            self.ui.resultLabel.text = _("Cancelled. Nothing was changed.")
        else:
            self._showError(outcomes[0].cause)
        self._updateGui()

    def _onRowDoubleClicked(self, row, column):
        from DeepTranslateLib.mrml.panels.translationresult import showInViews

        if row in self._outcomes:
            source = self.batch.allSources[row]
            showInViews(self._outcomes[row], source if hasattr(source, "GetID") else None)

    def _showError(self, error):
        from DeepTranslateLib.mrml.errordialog import showError

        report = getattr(error, "report", "") or "".join(
            traceback.format_exception(type(error), error, error.__traceback__)
        )
        self._errorDialog = showError(
            _("The volume was not translated"), str(error), report, self.parent
        )


class DeepTranslateLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for the Python console: no dialog, no widget."""

    def getParameterNode(self):
        """The choices of the panel in this scene."""
        return DeepTranslateParameterNode(super().getParameterNode())

    def translate(self, volumes, model, **options):
        """Apply a model and wait; see DeepTranslateLib.mrml.translating.translate.

        Args:
            volumes: Volume node, dictionary of the model's inputs, sequence, list, or folder.
            model: Path of a model file, name of a model in the library, or a Model.
            **options: output, table, device, component, closedSurface, allFrames, outputFolder,
                onEvent.

        Returns:
            Translated(output, table, path, error, name, ...), or a list of them.

        Raises:
            ValueError: Something cannot be translated; the message says what was expected.
        """
        from DeepTranslateLib.mrml.translating import translate

        return translate(volumes, model, **options)

    def startTranslation(self, volumes, model, **options):
        """Do the same and return at once; see DeepTranslateLib.mrml.translating."""
        from DeepTranslateLib.mrml.translating import startTranslation

        return startTranslation(volumes, model, **options)

    def train(self, recipe, cohort, folder, **options):
        """Train a recipe on a cohort and wait; see DeepTranslateLib.mrml.training.train."""
        from DeepTranslateLib.mrml.training import train

        return train(recipe, cohort, folder, **options)


def _likelyVolume():
    """The volume that the user looks at, else the first one, or None."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    volumeNode = slicer.mrmlScene.GetNodeByID(selection.GetActiveVolumeID() or "")
    volumes = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if not node.IsA("vtkMRMLLabelMapVolumeNode") and not node.GetHideFromEditors()
    ]
    return volumeNode if volumeNode in volumes else next(iter(volumes), None)


class DeepTranslateTest(ScriptedLoadableModuleTest):
    """Self test: a phantom through a tiny model that is trained on the fly."""

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Run all tests."""
        self.setUp()
        self.test_whatCannotBeTranslatedIsSaid()
        self.setUp()
        self.test_phantomIsTranslated()

    def test_whatCannotBeTranslatedIsSaid(self):
        """Errors come before anything starts, as exceptions, and leave the scene as it was."""
        logic = DeepTranslateLogic()
        before = slicer.mrmlScene.GetNumberOfNodes()
        try:
            logic.translate(None, "no such model")
            isSaid = False
        except ValueError:
            isSaid = True
        assert isSaid
        assert slicer.mrmlScene.GetNumberOfNodes() == before

    def test_phantomIsTranslated(self):
        """A segmentation and a table come of a volume, where the worker's packages are there."""
        from DeepTranslateLib.mrml.installing import Installation
        from DeepTranslateLib.mrml.jobs import newJobFolder, removeJobFolder
        from DeepTranslateLib.mrml.volumes import volumeFromImage
        from DeepTranslateLib.phantom import torso

        if not Installation().isReady:
            self.delayDisplay("The packages of the worker are not installed; not tested.")
            return
        folder = newJobFolder("selftest")
        try:
            phantoms = [
                torso(seed, slices=3, size=(48, 48), spacing=(10, 10, 20)) for seed in (0, 1)
            ]
            model = self._trainedModel(phantoms, folder)
            volumeNode = volumeFromImage(phantoms[0].image, "Phantom")
            translated = DeepTranslateLogic().translate(volumeNode, model)
            segmentation = translated.output.GetSegmentation()
            assert segmentation.GetNumberOfSegments() == 3
            assert translated.table.GetNumberOfRows() == 3
            self.delayDisplay("The phantom was translated.")
        finally:
            removeJobFolder(folder)

    def _trainedModel(self, phantoms, folder):
        from DeepTranslateLib.image.files import write_image
        from DeepTranslateLib.recipe import read_recipe, recipe_from_json
        from DeepTranslateLib.schema import to_json

        for phantom in phantoms:
            subject = folder / "cohort" / phantom.name
            subject.mkdir(parents=True)
            write_image(phantom.image, subject / "image.nrrd")
            write_image(phantom.labels, subject / "labels.nrrd")
        content = to_json(read_recipe("ct-body-composition").with_training(epochs=1))
        content["network"].update(levels=2, channels=2)
        recipe = recipe_from_json(content)
        return DeepTranslateLogic().train(recipe, folder / "cohort", folder / "run")
