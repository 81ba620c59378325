"""CohortFiles: a folder or a CSV of images to learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ctk
import qt
from slicer.i18n import tr as _

from DeepTranslateLib.cohort import CohortError, read_cohort
from DeepTranslateLib.mrml.panels.pathlistener import PathListener

_NAMED = 8


class CohortFiles:
    """A path, and what is found there.

    Args:
        onChange: Called without arguments when the path changed.
    """

    def __init__(self, onChange: Callable[[], None]) -> None:
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(4, 4, 4, 4)
        self.pathEdit = ctk.ctkPathLineEdit()
        self.pathEdit.objectName = "cohortPathEdit"
        # No name filters: with them CTK takes no folder. Its own button only offers files.
        self.pathEdit.filters = ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Files
        self.folderButton = qt.QPushButton(_("Folder..."))
        self.folderButton.objectName = "cohortFolderButton"
        self.folderButton.toolTip = _("Choose a folder; the button with the dots chooses a CSV.")
        self.folderButton.connect("clicked()", self._askForFolder)
        row = qt.QHBoxLayout()
        column.addLayout(row)
        row.addWidget(self.pathEdit, 1)
        row.addWidget(self.folderButton)
        self.label = qt.QLabel()
        self.label.objectName = "cohortFilesLabel"
        self.label.wordWrap = True
        column.addWidget(self.label)
        column.addStretch(1)
        self._listener = PathListener(self.pathEdit, lambda path: onChange())

    @property
    def path(self) -> str:
        """The path as it is shown."""
        return str(self.pathEdit.currentPath)

    def setPath(self, path: str) -> None:
        """Show a path."""
        self.pathEdit.currentPath = path

    def cohort(self) -> str:
        """Return the path of a cohort that can be read.

        Raises:
            CohortError: There is none.
        """
        path = self.path.strip()
        if not path:
            raise CohortError("Choose a folder of subjects or a CSV.")
        read_cohort(path)
        return path

    def refresh(self) -> None:
        """Look again at what lies there."""
        self.label.text = self._text()

    def _askForFolder(self) -> None:
        path = qt.QFileDialog.getExistingDirectory(self.widget, _("Folder of subjects"), self.path)
        if path:
            self.setPath(path)

    def _text(self) -> str:
        path = self.path.strip()
        if not path:
            return str(
                _(
                    "A folder with one folder a person, each with an image and its labels, or "
                    "with the folders source and target; an nnU-Net data set; or a CSV with the "
                    "columns subject, image, labels (or target) and, where needed, slices, split, "
                    "mask and domain."
                )
            )
        try:
            cohort = read_cohort(Path(path))
        except (CohortError, OSError) as error:
            return str(error)
        return str(
            _("{cases} images of {people} people: {names}").format(
                cases=len(cohort.cases),
                people=len(cohort.subjects),
                names=", ".join(cohort.subjects[:_NAMED])
                + (" ..." if len(cohort.subjects) > _NAMED else ""),
            )
        )
