"""InstallBanner: what is missing, how large it is, and one button; hidden when nothing is."""

from __future__ import annotations

from collections.abc import Callable

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.installing import (
    PROXY_SETTING,
    WHEEL_FOLDER_SETTING,
    Installation,
    InstallError,
    setting,
)
from DeepTranslateLib.mrml.jobs import WORKER_PYTHON_SETTING
from DeepTranslateLib.mrml.requirements import Requirement, sizeText

_OPTIONS = (WHEEL_FOLDER_SETTING, PROXY_SETTING, WORKER_PYTHON_SETTING)
_STYLE = (
    "QFrame#InstallBanner { border: 1px solid palette(mid); border-left: 4px solid #d98c00;"
    " border-radius: 3px; }"
)


class InstallBanner:
    """A box at the top of a panel that offers to install what is missing.

    It looks when it is made and at each `refresh`, which the panel's `enter` calls.

    Args:
        parentLayout: Layout that the widget is added to.
        onReady: Called after an installation that worked; the banner is hidden then.
        installation: What to ask and what to run.
    """

    def __init__(
        self,
        parentLayout: qt.QLayout,
        onReady: Callable[[], None] | None = None,
        installation: Installation | None = None,
    ) -> None:
        self._onReady = onReady
        self._installation = installation or Installation()
        self._isInstalling = False
        self._report = ""
        self._kept: dict[str, str] = {}
        self.widget = qt.QFrame()
        self.widget.setObjectName("InstallBanner")
        self.widget.setStyleSheet(_STYLE)
        layout = qt.QVBoxLayout(self.widget)
        self.label = _text(layout)
        self.installButton = qt.QPushButton()
        self.installButton.toolTip = _(
            "Installs into Slicer's Python. What belongs to Slicer keeps its version."
        )
        self.installButton.connect("clicked()", self.install)
        self.optionsButton = qt.QToolButton()
        self.optionsButton.text = _("Options")
        self.optionsButton.checkable = True
        self.optionsButton.autoRaise = True
        self.optionsButton.toolTip = _("Without network, through a proxy, or with another Python")
        self.optionsButton.connect("toggled(bool)", self._showOptions)
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.installButton, 1)
        buttons.addWidget(self.optionsButton)
        layout.addLayout(buttons)
        self._makeOptions(layout)
        self.progressBar = qt.QProgressBar()
        self.progressBar.setRange(0, 0)
        layout.addWidget(self.progressBar)
        self.progressLabel = _text(layout)
        self.failureLabel = _text(layout)
        self.failureLabel.setObjectName("InstallFailure")
        self.reportButton = qt.QPushButton(_("Copy report"))
        self.reportButton.toolTip = _("Copies all that pip said, for those who can help")
        self.reportButton.connect("clicked()", self._copyReport)
        layout.addWidget(self.reportButton)
        for widget in (self.progressBar, self.progressLabel, self.options):
            widget.visible = False
        parentLayout.addWidget(self.widget)
        self._showFailure("")
        self.refresh()

    @property
    def isInstalling(self) -> bool:
        """Whether an installation is running."""
        return self._isInstalling

    def refresh(self) -> None:
        """Look again for what is missing; nothing is installed or downloaded."""
        if self._isInstalling:
            return
        self._readOptions()
        try:
            missing = self._installation.missing()
        except InstallError as error:
            self._showFailure(error.message, error.report)
            self.label.text = _("The worker has no Python to run in.")
            self.installButton.visible = False
            self.widget.visible = True
            return
        self.widget.visible = bool(missing)
        if missing:
            self.label.text = _describe(missing)
            self.installButton.visible = True
            size = sizeText(missing)
            self.installButton.text = _("Install ({size})").format(size=size)

    def install(self) -> None:
        """Install what is missing; the button's click."""
        if self._isInstalling:
            return
        self._keepOptions()
        self._setInstalling(True)
        self._showFailure("")
        try:
            done = self._installation.install(onMessage=self._say)
        except InstallError as error:
            self._setInstalling(False)
            self.refresh()
            self.widget.visible = True
            self._showFailure(error.message, error.report)
            return
        except BaseException:
            self._setInstalling(False)
            raise
        self._setInstalling(False)
        self.refresh()
        slicer.util.showStatusMessage(done, 10000)
        if self._installation.needsRestart:
            self.label.text = done
            self.installButton.visible = False
            self.widget.visible = True
        if self._onReady is not None:
            self._onReady()

    def _makeOptions(self, layout: qt.QLayout) -> None:
        self.options = qt.QWidget()
        form = qt.QFormLayout(self.options)
        form.setContentsMargins(0, 0, 0, 0)
        self.wheelFolderEdit = ctk.ctkPathLineEdit()
        self.wheelFolderEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.wheelFolderEdit.toolTip = _(
            "Installs from the wheel files in this folder, without any network"
        )
        self.proxyEdit = qt.QLineEdit()
        self.proxyEdit.placeholderText = "http://host:port"
        self.proxyEdit.toolTip = _(
            "Proxy for the downloads. A password in it is kept readable in Slicer's settings."
        )
        self.pythonEdit = ctk.ctkPathLineEdit()
        self.pythonEdit.filters = ctk.ctkPathLineEdit.Files
        self.pythonEdit.toolTip = _(
            "Another Python, with the packages already in it, to train and translate with; empty: "
            "Slicer's own"
        )
        form.addRow(_("Wheel folder:"), self.wheelFolderEdit)
        form.addRow(_("Proxy:"), self.proxyEdit)
        form.addRow(_("Worker's Python:"), self.pythonEdit)
        self.applyButton = qt.QPushButton(_("Apply"))
        self.applyButton.toolTip = _("Keeps the options and looks again for what is missing")
        self.applyButton.connect("clicked()", self._applyOptions)
        form.addRow(self.applyButton)
        layout.addWidget(self.options)

    def _showOptions(self, shown: bool) -> None:
        self.options.visible = shown

    def _readOptions(self) -> None:
        self._kept = {key: setting(key) for key in _OPTIONS}
        self.wheelFolderEdit.currentPath = self._kept[WHEEL_FOLDER_SETTING]
        self.proxyEdit.text = self._kept[PROXY_SETTING]
        self.pythonEdit.currentPath = self._kept[WORKER_PYTHON_SETTING]

    def _keepOptions(self) -> None:
        values = (
            self.wheelFolderEdit.currentPath,
            self.proxyEdit.text,
            self.pythonEdit.currentPath,
        )
        for key, value in zip(_OPTIONS, values, strict=True):
            # What was not touched here may have been changed elsewhere meanwhile.
            if value.strip() != self._kept[key]:
                slicer.app.userSettings().setValue(key, value.strip())

    def _applyOptions(self) -> None:
        self._keepOptions()
        self._showFailure("")
        self.refresh()
        if not self.widget.visible and self._onReady is not None:
            self._onReady()

    def _setInstalling(self, isInstalling: bool) -> None:
        self._isInstalling = isInstalling
        self.progressBar.visible = isInstalling
        self.progressLabel.visible = isInstalling
        self.progressLabel.text = ""
        for widget in (self.installButton, self.options):
            widget.enabled = not isInstalling

    def _say(self, line: str) -> None:
        if line.strip():
            self.progressLabel.text = line.strip()[:200]
            slicer.app.processEvents()

    def _showFailure(self, message: str, report: str = "") -> None:
        self._report = report
        self.failureLabel.text = message
        self.failureLabel.visible = bool(message)
        self.reportButton.visible = bool(message)

    def _copyReport(self) -> None:
        slicer.app.clipboard().setText(self._report)


def _describe(missing: list[Requirement]) -> str:
    lines = [
        _("<b>Some packages are needed before models can be trained or applied.</b>"),
        _("You can look around meanwhile; nothing is installed before you press the button."),
    ]
    for need in missing:
        there = ""
        if need.installed:
            there = _(", {version} is too old").format(version=need.installed)
        minimum = need.specifier.removeprefix(">=").partition(",")[0]
        lines.append(
            _("- {name} {minimum} or newer{there}: {size}").format(
                name=need.name, minimum=minimum, there=there, size=need.sizeText
            )
        )
    return "<br>".join(lines)


def _text(layout: qt.QLayout) -> qt.QLabel:
    label = qt.QLabel()
    label.wordWrap = True
    label.textInteractionFlags = qt.Qt.TextSelectableByMouse
    layout.addWidget(label)
    return label
