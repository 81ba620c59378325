"""Train: gather labelled images, choose a recipe, watch it learn, and make a model of it."""

import sys
from pathlib import Path

import qt
import slicer
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


class DeepTranslateTrain(ScriptedLoadableModule):
    """What Slicer shows about the module before its panel is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("DeepTranslate Train")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["DeepTranslate contributors"]
        self.parent.helpText = _(
            "Trains a model on images that you labelled, as few as 17 slices: 1. gather the "
            "images, 2. choose a recipe, 3. check them, 4. train and watch, 5. use the model in "
            "the module DeepTranslate, or continue tomorrow. "
            '<a href="https://github.com/deeptranslate/SlicerDeepTranslate#readme">Documentation</a>'
        )
        self.parent.acknowledgementText = _(
            "The method for body composition follows Ye RZ et al. DeepImageTranslator: a free, "
            "user-friendly graphical interface for image translation using deep-learning and its "
            "applications in 3D CT image analysis. bioRxiv 2021, doi:10.1101/2021.05.15.444315."
        )


@parameterNodeWrapper
class DeepTranslateTrainParameterNode:
    """The choices that a scene file keeps; the nodes of the cases are references beside them.

    cohort: State of the cohort builder, JSON.
    recipe: The recipe's JSON as it is shown.
    runFolder: Folder for the next training; empty while the suggested one is meant.
    openRun: Run folder of section 5.
    initialModel: Model file to start from; empty for none.
    transfer: Whether it is for another task than that model's.
    """

    cohort: str
    recipe: str
    runFolder: str
    openRun: str
    initialModel: str
    transfer: bool = False
    device: str = "auto"


class DeepTranslateTrainWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. What it shows lies in DeepTranslateLib.mrml.panels; here it is wired."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._updating = False
        self._estimate = None

    def setup(self):
        """Build the panel."""
        from DeepTranslateLib.mrml.cohortcache import CohortCache
        from DeepTranslateLib.mrml.installing import Installation
        from DeepTranslateLib.mrml.panels.augmentationpreview import AugmentationPreview
        from DeepTranslateLib.mrml.panels.cohortbuilder import CohortBuilder
        from DeepTranslateLib.mrml.panels.cohortcheck import CohortCheck
        from DeepTranslateLib.mrml.panels.installbanner import InstallBanner
        from DeepTranslateLib.mrml.panels.jobprogress import JobProgress
        from DeepTranslateLib.mrml.panels.jobslot import JobSlot
        from DeepTranslateLib.mrml.panels.panelsections import PanelSections
        from DeepTranslateLib.mrml.panels.recipechooser import RecipeChooser
        from DeepTranslateLib.mrml.panels.runchooser import RunChooser
        from DeepTranslateLib.mrml.panels.startmodel import StartModel
        from DeepTranslateLib.mrml.panels.trainingoptions import TrainingOptions
        from DeepTranslateLib.mrml.panels.trainingrun import TrainingRun

        ScriptedLoadableModuleWidget.setup(self)
        self._updating = True
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DeepTranslateTrain.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        ui = self.ui
        self.logic = DeepTranslateTrainLogic()
        self.installation = Installation()
        self._isInstalled = True
        self.banner = InstallBanner(ui.bannerContainer.layout(), self._checkInstallation)
        self.slot = JobSlot(self._updateGui)
        self.cache = CohortCache()
        self.builder = CohortBuilder(ui.imagesSection.layout(), self._onCohortChanged)
        self.recipes = RecipeChooser(
            ui.recipeSection.layout(), self._onRecipeChanged, self.builder.segmentsFound
        )
        augmentation = self.recipes.form.layouts[_("Augmentation")]
        self.augmentation = AugmentationPreview(augmentation, self.slot, self._inputs, self.cache)
        self.check = CohortCheck(
            ui.checkSection.layout(), self.slot, self._inputs, self.cache, self._showFaults
        )
        self.startModel = StartModel(ui.startFromComboBox, self._onStartModelChanged)
        self.options = TrainingOptions(
            ui.runFolderEdit,
            ui.runsFolderEdit,
            ui.deviceComboBox,
            self._recipeOrNone,
            self._keepChoices,
        )
        self.estimateProgress = JobProgress(ui.estimateContainer.layout(), self.slot.cancel)
        self.sections = PanelSections(
            [ui.imagesSection, ui.recipeSection, ui.checkSection], ui.continueSection
        )
        self.training = TrainingRun(
            ui.monitorContainer.layout(),
            self.slot,
            self.logic,
            self.check,
            self.sections,
            self._onTrainingEnded,
        )
        self.monitor = self.training.monitor
        self.runs = RunChooser(
            ui.continueSection.layout(), self.slot, self.onContinue, self._onModelAdded
        )
        self._setupTrain()
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self._afterImport = qt.QTimer(uiWidget)
        self._afterImport.setSingleShot(True)
        self._afterImport.connect("timeout()", self._onImported)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self._updating = False
        self.builder.setRecipe(self.recipes.recipe())
        self.initializeParameterNode()

    def _setupTrain(self):
        from DeepTranslateLib.mrml.panels.pathlistener import PathListener

        ui = self.ui
        self._pathListener = PathListener(self.runs.pathEdit, lambda path: self._keepChoices())
        ui.estimateButton.connect("clicked()", self.onEstimate)
        ui.trainButton.connect("clicked()", self.onTrain)
        ui.copyScriptButton.connect("clicked()", self.onCopyScript)
        ui.transferCheckBox.connect("toggled(bool)", lambda on: self._keepChoices())

    def cleanup(self):
        """End what runs, before the module is reloaded or the application closes."""
        self.slot.release()
        self._afterImport.stop()
        self.augmentation.clear()
        self.cache.clear()
        self.removeObservers()
        self._parameterNode = None

    def enter(self):
        """Look again at what may have changed while another module was shown."""
        self.options.refresh()
        self.initializeParameterNode()
        self.builder.refresh()
        self.monitor.enter()
        self.startModel.refresh()
        self.banner.refresh()
        self._checkInstallation()

    def exit(self):
        """Leave the panel; a training goes on."""
        self.monitor.leave()
        self._parameterNode = None

    def onReload(self):
        """Load the library anew with the module."""
        from DeepTranslateLib.mrml.jobs import shutDown

        shutDown()
        for name in [name for name in sys.modules if name.split(".")[0] == "DeepTranslateLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        """Let go of the scene's nodes; a training that runs saves what it has learnt."""
        self._parameterNode = None

    def onSceneEndClose(self, caller, event):
        """Begin with an empty scene."""
        self.monitor.forget()
        self.sections.giveBack()
        self.builder.clear()
        self.cache.clear()
        self.check.clear()
        self.augmentation.clear()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, caller, event):
        """Let go of the parameter node, so that the choices that come are not written over."""
        self._parameterNode = None

    def onSceneEndImport(self, caller, event):
        """Show the choices that came with the scene, once selectors can show its nodes."""
        self._afterImport.start(0)

    def _onImported(self):
        if self.parent.isEntered:
            self.initializeParameterNode()

    # ------------------------------------------------------------------------------ parameters

    def initializeParameterNode(self):
        """Show the choices of the scene's parameter node, and write changes to it."""
        parameterNode = self.logic.getParameterNode()
        if self._parameterNode is not None:
            return
        self._updating = True
        try:
            if parameterNode.recipe and parameterNode.recipe != self.recipes.jsonText():
                self.recipes.setJsonText(parameterNode.recipe)
            self.builder.setRecipe(self._recipeOrNone())
            if parameterNode.cohort:
                self.builder.restore(parameterNode.cohort, parameterNode.parameterNode)
            self.startModel.refresh(parameterNode.initialModel)
            self.ui.transferCheckBox.checked = parameterNode.transfer
            self.options.show(parameterNode.runFolder, parameterNode.device)
            if parameterNode.openRun and not self.slot.busy:
                self.runs.open(parameterNode.openRun)
            self._parameterNode = parameterNode
        finally:
            self._updating = False
        self.options.suggest()
        self._keepChoices()

    def _keepChoices(self):
        """Write the choices to the parameter node."""
        parameterNode = self._parameterNode
        if parameterNode is None or self._updating:
            return
        modifying = parameterNode.parameterNode.StartModify()
        parameterNode.cohort = self.builder.save(parameterNode.parameterNode)
        parameterNode.recipe = self.recipes.jsonText()
        parameterNode.runFolder = self.options.chosenFolder
        parameterNode.openRun = self.runs.pathEdit.currentPath
        parameterNode.initialModel = self.startModel.path
        parameterNode.transfer = self.ui.transferCheckBox.checked
        parameterNode.device = self.options.device
        parameterNode.parameterNode.EndModify(modifying)
        self._updateGui()

    def _recipeOrNone(self):
        try:
            return self.recipes.recipe()
        except ValueError:
            return None

    def _inputs(self):
        """Recipe and cohort as they are chosen; ValueError where one cannot be used."""
        return self.recipes.recipe(), self.builder.cohort()

    def _onCohortChanged(self):
        if not self._updating:
            self._estimate = None
            self.check.clear()
            self.recipes.takeNewSegments()
            self._keepChoices()

    def _onRecipeChanged(self):
        if not self._updating:
            self._estimate = None
            self.recipes.takeNewSegments()
            self.builder.setRecipe(self._recipeOrNone())
            self.options.suggest()
            self._keepChoices()
            self.augmentation.follow()

    def _onStartModelChanged(self, model):
        """Take over the network of the model to start from: another could not go on with it."""
        if model is not None:
            self.recipes.setNetworkOf(model.recipe)
        self._estimate = None
        self._keepChoices()

    def _showFaults(self):
        self.ui.checkSection.collapsed = False

    # ------------------------------------------------------------------------------ what to show

    def _updateGui(self):
        if self._updating:
            return
        ui, busy = self.ui, self.slot.busy
        missing = self._whatIsMissing()
        ready = not missing and not busy and self._isInstalled
        for button in (ui.trainButton, ui.estimateButton, self.augmentation.button):
            button.enabled = ready
        self.check.button.enabled = not busy and self._isInstalled
        ui.copyScriptButton.enabled = not missing
        self.options.setEnabled(not self.training.isRunning)
        ui.startFromComboBox.enabled = not self.training.isRunning
        ui.transferCheckBox.visible = self.startModel.model is not None
        ui.transferCheckBox.enabled = not self.training.isRunning
        self.runs.updateButtons()
        if not self._isInstalled:
            ui.summaryLabel.text = _("Install what is missing first, with the button at the top.")
        elif self.training.isRunning:
            ui.summaryLabel.text = ""
        else:
            ui.summaryLabel.text = missing or self._summary()
        ui.summaryLabel.visible = bool(ui.summaryLabel.text)

    def _checkInstallation(self):
        from DeepTranslateLib.mrml.installing import InstallError

        try:
            self._isInstalled = self.installation.isReady
        except InstallError:
            self._isInstalled = False
        self._updateGui()

    def _whatIsMissing(self):
        """Why nothing can be trained, as a sentence; empty when it can."""
        from DeepTranslateLib.mrml.runfolders import refuseUsedFolder

        try:
            self._inputs()
            if not self.options.folder:
                return _("Choose a run folder.")
            refuseUsedFolder(self.options.folder)
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def _summary(self):
        """What Train will do: the text to agree with before the click."""
        from DeepTranslateLib.mrml.panels.trainingtexts import summaryText

        recipe, cohort = self._inputs()
        return summaryText(recipe, cohort, self._estimate, self.startModel.model)

    # ------------------------------------------------------------------------------ running

    def onEstimate(self):
        """Measure time and memory."""
        from DeepTranslateLib.mrml.panels.trainingtexts import exportingText

        self.estimateProgress.start(_("Doing a few steps to see how long they take"))

        def finished(result):
            self._estimate = result

        def heard(event):
            if event["event"] == "exporting":
                self.estimateProgress.update(exportingText(event), event["done"], event["total"])

        def ended():
            self.estimateProgress.finish()
            self.check.runIfFaulty()

        self.slot.begin(
            lambda **callbacks: self.logic.startEstimate(
                *self._inputs(), self.options.device, cache=self.cache, **callbacks
            ),
            self._say,
            onFinished=finished,
            onEvent=heard,
            onEnded=ended,
            explain=lambda error: self.check.explain(error, self._say),
        )

    def onTrain(self):
        """Start a new training."""
        self.training.start(
            *self._inputs(),
            Path(self.options.folder).absolute(),
            device=self.options.device,
            initialModel=self.startModel.model,
            transfer=self.ui.transferCheckBox.checked,
            cache=self.cache,
        )

    def onContinue(self, folder, epochs=None):
        """Go on with the training of a run folder."""
        self.training.goOn(folder, self.options.device, epochs)

    def onCancelTraining(self):
        """Stop the training at once."""
        self.training.cancel()

    def onCopyScript(self):
        """Copy a script to the clipboard that trains as Train does."""
        from DeepTranslateLib.mrml.trainingscript import trainingScript

        recipe, cohort = self._inputs()
        script = trainingScript(
            recipe,
            cohort,
            Path(self.options.folder).absolute(),
            self.options.device,
            self.startModel.path or None,
            self.ui.transferCheckBox.checked,
        )
        slicer.app.clipboard().setText(script)
        self._say(_("The script is in the clipboard: paste it where you like."))

    def _onTrainingEnded(self, folder):
        from DeepTranslateLib.mrml.runfolders import isRun

        if isRun(folder):
            self.runs.open(folder)
            self.options.suggestAfter(folder)
        self._keepChoices()

    def _onModelAdded(self, path, use):
        self.startModel.refresh()
        if use:
            slicer.util.getModuleLogic("DeepTranslate").getParameterNode().model = path.name
            if slicer.util.mainWindow() is not None:
                slicer.util.selectModule("DeepTranslate")

    def _say(self, text):
        self.ui.summaryLabel.text = text
        self.ui.summaryLabel.visible = True


class DeepTranslateTrainLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for the Python console: no dialog, no widget.

    Each function is that of DeepTranslateLib.mrml.training or trainingaids, which say more.
    """

    def getParameterNode(self):
        """The choices of the panel in this scene."""
        return DeepTranslateTrainParameterNode(super().getParameterNode())

    def train(self, recipe, cohort, folder, **options):
        """Train a recipe on a cohort in a new folder, and wait.

        Args:
            recipe: A Recipe, its JSON, the name of a built-in recipe, or a file.
            cohort: A CSV or folder, or a list of DeepTranslateLib.mrml.cohorts.Pair.
            folder: The run's folder, new or empty.
            **options: device, initialModel, transfer, onEvent.

        Returns:
            Path of the model.

        Raises:
            ValueError: Something cannot be used; the message says what was expected.
        """
        from DeepTranslateLib.mrml.training import train

        return train(recipe, cohort, folder, **options)

    def startTraining(self, recipe, cohort, folder, **options):
        """Do the same and return at once."""
        from DeepTranslateLib.mrml.training import startTraining

        return startTraining(recipe, cohort, folder, **options)

    def continueTraining(self, folder, **options):
        """Go on with the training of a run folder, and wait; options: epochs, device, onEvent."""
        from DeepTranslateLib.mrml.training import continueTraining

        return continueTraining(folder, **options)

    def startContinuation(self, folder, **options):
        """Do the same and return at once."""
        from DeepTranslateLib.mrml.training import startContinuation

        return startContinuation(folder, **options)

    def checkCohort(self, recipe, cohort, **options):
        """Look for faults in a cohort, and wait."""
        from DeepTranslateLib.mrml.trainingaids import checkCohort

        return checkCohort(recipe, cohort, **options)

    def estimateTraining(self, recipe, cohort, **options):
        """Measure what a training will take, and wait."""
        from DeepTranslateLib.mrml.trainingaids import estimateTraining

        return estimateTraining(recipe, cohort, **options)

    def startEstimate(self, recipe, cohort, device="auto", **options):
        """Do the same and return at once."""
        from DeepTranslateLib.mrml.trainingaids import startEstimate

        return startEstimate(recipe, cohort, device, **options)

    def exportEpoch(self, run, epoch, output):
        """Make a model of an epoch that a run kept, and wait."""
        from DeepTranslateLib.mrml.trainingaids import exportEpoch

        return exportEpoch(run, epoch, output)


class DeepTranslateTrainTest(ScriptedLoadableModuleTest):
    """Self test: two phantoms from nodes to a model."""

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Run all tests."""
        self.setUp()
        self.test_whatCannotBeTrainedIsSaid()
        self.setUp()
        self.test_phantomsAreLearnt()

    def test_whatCannotBeTrainedIsSaid(self):
        """Errors come before anything starts, as exceptions, and leave no folder behind."""
        from DeepTranslateLib.mrml.jobs import newJobFolder, removeJobFolder

        parent = newJobFolder("selftest")
        try:
            DeepTranslateTrainLogic().train("ct-body-composition", [], parent / "run")
            raise AssertionError("A training without images was started.")
        except ValueError:
            assert not (parent / "run").exists()
        finally:
            removeJobFolder(parent)

    def test_phantomsAreLearnt(self):
        """Volumes with label maps become a model, where the worker's packages are there."""
        from DeepTranslateLib.mrml.cohorts import Pair
        from DeepTranslateLib.mrml.installing import Installation
        from DeepTranslateLib.mrml.jobs import newJobFolder, removeJobFolder
        from DeepTranslateLib.mrml.segmentations import segmentationFromLabels
        from DeepTranslateLib.mrml.volumes import volumeFromImage
        from DeepTranslateLib.phantom import torso
        from DeepTranslateLib.recipe import read_recipe, recipe_from_json
        from DeepTranslateLib.schema import to_json

        if not Installation().isReady:
            self.delayDisplay("The packages of the worker are not installed; not tested.")
            return
        content = to_json(read_recipe("ct-body-composition").with_training(epochs=1))
        content["network"].update(levels=2, channels=2)
        recipe = recipe_from_json(content)
        pairs = []
        for seed in (0, 1):
            phantom = torso(seed, slices=3, size=(48, 48), spacing=(10, 10, 20))
            volumeNode = volumeFromImage(phantom.image, f"Phantom {seed}")
            labels = recipe.target.labels
            targetNode = segmentationFromLabels(phantom.labels, labels, "Tissues", volumeNode)
            pairs.append(Pair(volumeNode, targetNode))
        folder = newJobFolder("selftest")
        try:
            model = DeepTranslateTrainLogic().train(recipe, pairs, folder / "run")
            assert model.is_file()
            self.delayDisplay("The phantoms were learnt.")
        finally:
            removeJobFolder(folder)
