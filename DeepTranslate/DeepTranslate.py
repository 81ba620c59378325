"""Translate: apply a trained model to the volumes of the scene, or to a folder of images."""

import importlib.util
import sys
from pathlib import Path

import qt
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
            '<a href="https://github.com/deeptranslate/SlicerDeepTranslate#readme">Documentation</a>'
        )
        self.parent.acknowledgementText = _(
            "The method for body composition follows Ye RZ et al. DeepImageTranslator: a free, "
            "user-friendly graphical interface for image translation using deep-learning and its "
            "applications in 3D CT image analysis. bioRxiv 2021, doi:10.1101/2021.05.15.444315."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Add this extension's images to the Sample Data module."""
    if importlib.util.find_spec("DeepTranslateLib.mrml.sampledata") is None:
        return
    from DeepTranslateLib.mrml import sampledata

    sampledata.registerSampleData()


@parameterNodeWrapper
class DeepTranslateParameterNode:
    """The choices that a scene file keeps; the input volumes are node references beside them.

    model: File name of the model in the library.
    direction: "source-to-target", or "target-to-source" of a model that has both.
    component: Component of volumes that have several.
    allFrames: Every frame of a sequence, not only the one that is shown.
    """

    model: str
    direction: str
    component: int
    allFrames: bool = True
    outputSegmentation: vtkMRMLSegmentationNode
    outputVolume: vtkMRMLScalarVolumeNode
    outputTable: vtkMRMLTableNode
    closedSurface: bool = False
    device: str


class DeepTranslateWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Its parts lie in DeepTranslateLib.mrml.panels; here they are wired."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._isUpdating = True
        self._isInstalled = True

    def setup(self):
        """Build the panel."""
        from DeepTranslateLib.mrml.installing import Installation
        from DeepTranslateLib.mrml.panels.batchtable import BatchTable
        from DeepTranslateLib.mrml.panels.doubtslabel import DoubtsLabel
        from DeepTranslateLib.mrml.panels.inputselectors import InputSelectors
        from DeepTranslateLib.mrml.panels.installbanner import InstallBanner
        from DeepTranslateLib.mrml.panels.jobprogress import JobProgress
        from DeepTranslateLib.mrml.panels.modelselector import ModelSelector
        from DeepTranslateLib.mrml.panels.translateoptions import TranslateOptions
        from DeepTranslateLib.mrml.panels.translationmonitor import TranslationMonitor

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DeepTranslate.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = ui = slicer.util.childWidgetVariables(uiWidget)
        # Now: among the children are Qt's own, which may be gone later and then cannot be asked.
        self._boundWidgets = _boundWidgets(ui)
        self.logic = DeepTranslateLogic()
        self.installation = Installation()
        self.banner = InstallBanner(
            ui.bannerContainer.layout(), self._checkInstallation, self.installation
        )
        self.inputs = InputSelectors(ui.volumeForm.layout(), self._onChanged)
        self.doubts = DoubtsLabel(ui.warningLabel)
        self.batch = BatchTable(ui.batchTab.layout(), self._updateGui)
        self.progress = JobProgress(ui.progressContainer.layout(), self.onCancel)
        self.monitor = TranslationMonitor(
            self.progress, self.batch, ui.resultLabel, self._updateGui, self.parent
        )
        self.models = ModelSelector(
            ui.modelSection.layout(), self._onModelChanged, self.monitor.showError
        )
        self.models.acceptDrops(uiWidget)
        self.options = TranslateOptions(
            ui.deviceComboBox,
            ui.modelsFolderEdit,
            ui.workerPythonEdit,
            onDevice=self._onChanged,
            onModelsFolder=self.models.refresh,
            onWorkerPython=self._checkInstallation,
            isBusy=lambda: self.monitor.translation is not None,
        )
        self._afterImport = qt.QTimer(uiWidget)
        self._afterImport.setSingleShot(True)
        self._afterImport.connect("timeout()", self._onImported)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.inputs.setMRMLScene(slicer.mrmlScene)
        self._connect()
        self._fitTab()
        self._isUpdating = False
        self.initializeParameterNode()

    def _connect(self):
        scene, ui = slicer.mrmlScene, self.ui
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        ui.applyButton.connect("clicked()", self.onApply)
        ui.copyScriptButton.connect("clicked()", self.onCopyScript)
        ui.tabWidget.connect("currentChanged(int)", self._onTabChanged)
        ui.outputVolumeSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda node: self._updateGui()
        )
        self.batch.table.connect(
            "cellDoubleClicked(int,int)", lambda row, column: self.monitor.showRow(row)
        )

    def cleanup(self):
        """End what runs, before the module is reloaded or the application closes."""
        self.onCancel()
        self.models.release()
        self._afterImport.stop()
        self.removeObservers()
        self.setParameterNode(None)

    def enter(self):
        """Look again at what may have changed while another module was shown."""
        self.initializeParameterNode()
        self.banner.refresh()
        if self.monitor.translation is None:
            self.batch.refresh()
        self._checkInstallation()

    def exit(self):
        """Leave the panel; a translation goes on."""
        self.setParameterNode(None)

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
        self.monitor.clear()
        if self.parent.isEntered:
            self.initializeParameterNode()
        self.batch.refresh()

    def onSceneStartImport(self, caller, event):
        """Let go of the parameter node, so that the choices that come are not written over."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event):
        """Show the choices that came with the scene, once the selectors know its nodes."""
        self._afterImport.start(0)

    def _onImported(self):
        if self.parent.isEntered:
            self.initializeParameterNode()
            if self.monitor.translation is None:
                self.batch.refresh()

    # What the user chooses, and what a scene file keeps of it.

    def initializeParameterNode(self):
        """Take the choices of the scene, and a volume where none is chosen."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        """Show the choices of a parameter node and write changes to it; None lets go."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
        self._parameterNode = parameterNode
        if parameterNode is None:
            return
        self._parameterNodeGuiTag = parameterNode.connectParametersToGui(self._boundWidgets)
        self._isUpdating = True
        self.options.setDevice(parameterNode.device)
        self.models.refresh(parameterNode.model or None, parameterNode.direction or None)
        if self.models.model is not None:
            self.inputs.setInputs(self.models.model.recipe.inputs)
        for number in range(len(self.inputs.volumeNodes)):
            volumeNode = parameterNode.parameterNode.GetNodeReference(_inputRole(number))
            if number == 0 and volumeNode is None:
                volumeNode = _likelyVolume()
            self.inputs.setVolumeNode(number, volumeNode)
        self.inputs.refresh()
        self.inputs.setComponent(parameterNode.component)
        self._isUpdating = False
        self._onChanged()

    def _keepChoices(self):
        """Write to the parameter node what no widget of it does by itself."""
        if self._parameterNode is None:
            return
        node = self._parameterNode.parameterNode
        if self.models.model is not None:
            self._parameterNode.model = self.models.fileName
            self._parameterNode.direction = self.models.direction
        for number, volumeNode in enumerate(self.inputs.volumeNodes.values()):
            nodeID = volumeNode.GetID() if volumeNode is not None else None
            node.SetNodeReferenceID(_inputRole(number), nodeID)
        self._parameterNode.component = self.inputs.component or 0
        self._parameterNode.device = self.options.device

    def _onModelChanged(self):
        if self.models.model is not None and not self._isUpdating:
            self.inputs.setInputs(self.models.model.recipe.inputs)
        self._onChanged()

    def _onChanged(self):
        if not self._isUpdating:
            self._keepChoices()
            self._updateGui()

    def _onTabChanged(self, index):
        self._fitTab()
        if self._isBatch and self.monitor.translation is None:
            self.batch.refresh()
        self._updateGui()

    def _fitTab(self):
        """The tab that is not shown takes no room."""
        self.batch.widget.visible = self._isBatch
        self.ui.volumeForm.visible = not self._isBatch

    def _checkInstallation(self):
        from DeepTranslateLib.mrml.installing import InstallError

        try:
            self._isInstalled = self.installation.isReady
        except InstallError:
            self._isInstalled = False
        self._updateGui()

    @property
    def _isBatch(self):
        return self.ui.tabWidget.currentIndex == 1

    # What is shown.

    def _updateGui(self):
        from DeepTranslateLib.mrml.panels.wrappedlabel import setWrappedText

        if self._isUpdating:
            return
        model, running = self.models.model, self.monitor.translation is not None
        makesLabels = model is None or model.recipe.target.kind == "labels"
        ui = self.ui
        for widget in (
            ui.outputSegmentationLabel,
            ui.outputSegmentationSelector,
            ui.outputTableLabel,
            ui.outputTableSelector,
            ui.closedSurfaceCheckBox,
        ):
            widget.visible = makesLabels
        for widget in (ui.outputVolumeLabel, ui.outputVolumeSelector):
            widget.visible = not makesLabels
        first = self.inputs.first
        ui.allFramesCheckBox.visible = _isPlayed(first)
        self.doubts.show(model, first, self.inputs.component)
        missing = self._whatIsMissing(model)
        ui.applyButton.enabled = not missing
        ui.applyButton.toolTip = missing or _("Apply the model")
        count = _("Apply to {count} volumes").format(count=len(self.batch.checkedRows()))
        ui.applyButton.text = count if self._isBatch else _("Apply")
        ui.copyScriptButton.enabled = not missing
        setWrappedText(ui.hintLabel, "" if running else missing)
        setWrappedText(ui.resultLabel, ui.resultLabel.text)
        self.models.card.fit()

    def _whatIsMissing(self, model):
        """Why Apply cannot be clicked, as a sentence; empty when it can."""
        if self.monitor.translation is not None:
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

    # What is done.

    def onApply(self):
        """Start; returns at once, and the panel stays usable."""
        sources, options = self._request()
        model = self.models.model

        def begin(**callbacks):
            return self.logic.startTranslation(sources, model, **options, **callbacks)

        try:
            if self._isBatch:
                self.monitor.start(begin, rows=self.batch.checkedRows())
            else:
                self.monitor.start(begin, inputNode=self.inputs.first)
        except (ValueError, OSError) as error:
            self.monitor.showError(error)
        self._updateGui()

    def onCancel(self):
        """Cancel what runs; volumes that are finished stay."""
        self.monitor.cancel()

    def onCopyScript(self):
        """Copy a script to the clipboard that does what Apply would do."""
        from DeepTranslateLib.mrml.translationscript import translationScript

        sources, options = self._request()
        if self._isBatch and self.batch.mode == "folder":
            if len(sources) < len(self.batch.allSources):
                options["only"] = [each.name for each in sources]
            sources = self.batch.folder
        script = translationScript(sources, self.models.model, **options)
        slicer.app.clipboard().setText(script)
        self.ui.resultLabel.text = _("The script is in the clipboard: paste it where you like.")
        self._updateGui()

    def _request(self):
        """What the panel says, as arguments of translate."""
        options = {"device": self.options.device, "direction": self.models.direction}
        if self._isBatch:
            if self.batch.mode == "folder":
                options["outputFolder"] = str(self.batch.outputFolder)
            return self.batch.checkedSources(), options
        volumes = self.inputs.volumeNodes
        options["component"] = self.inputs.component
        allFrames = _isPlayed(self.inputs.first)
        if allFrames:
            options["allFrames"] = allFrames = self.ui.allFramesCheckBox.checked
        output = self.ui.outputVolumeSelector.currentNode()
        if self.models.model.recipe.target.kind == "labels":
            output = self.ui.outputSegmentationSelector.currentNode()
            options["table"] = self.ui.outputTableSelector.currentNode()
            options["closedSurface"] = self.ui.closedSurfaceCheckBox.checked
        if not allFrames:
            options["output"] = output
        return volumes if len(volumes) > 1 else self.inputs.first, options


def _boundWidgets(ui):
    """Widgets by the parameter that they show; connectGui, which finds them too, tells no tag."""
    named = [(widget.property("SlicerParameterName"), widget) for widget in vars(ui).values()]
    return {name: widget for name, widget in named if name}


def _inputRole(number):
    """Role of the reference from the parameter node to an input volume."""
    return f"input{number}"


def _isPlayed(volumeNode):
    from DeepTranslateLib.mrml.sequences import isSequence

    return isSequence(volumeNode)


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
                direction, onEvent.

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
