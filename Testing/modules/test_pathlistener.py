"""Paths that are chosen, typed and taken away."""

import time

import ctk
import pytest
import qt
import slicer

from DeepTranslateLib.mrml.jobs import WORKER_PYTHON_SETTING
from DeepTranslateLib.mrml.panels.pathlistener import PathListener


@pytest.fixture
def heard():
    """A path edit and the list of what a listener to it heard."""
    window = qt.QWidget()
    edit = ctk.ctkPathLineEdit(window)
    edit.filters = ctk.ctkPathLineEdit.Dirs
    told = []
    listener = PathListener(edit, told.append)
    yield edit, told
    assert listener is not None
    window.deleteLater()


def test_a_chosen_folder_is_told_at_once_and_so_is_an_emptied_edit(heard, tmp_path):
    edit, told = heard
    edit.currentPath = str(tmp_path)
    assert told == [str(tmp_path)]
    edit.currentPath = ""
    assert told == [str(tmp_path), ""]


def test_somebody_who_types_is_not_interrupted(heard):
    edit, told = heard
    line = edit.comboBox().lineEdit()
    for letter in "/home":
        line.insert(letter)
        slicer.app.processEvents()
    assert told == []
    end = time.monotonic() + 10
    while not told and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)
    assert told == ["/home"]


def test_name_filters_make_ctk_silent_about_folders(heard, tmp_path):
    """Why no path edit for folders has them."""
    edit, told = heard
    edit.nameFilters = ["CSV (*.csv *.txt)"]
    edit.currentPath = str(tmp_path)
    assert told == []
    edit.currentPath = str(tmp_path / "cohort.csv")
    assert told == [str(tmp_path / "cohort.csv")]


def test_emptying_the_workers_python_brings_back_slicers_own(panel, tmp_path):
    widget = panel("DeepTranslate")
    setting = slicer.app.userSettings()
    widget.ui.workerPythonEdit.currentPath = str(tmp_path / "python")
    assert setting.value(WORKER_PYTHON_SETTING) == str(tmp_path / "python")
    widget.ui.workerPythonEdit.currentPath = ""
    assert not setting.value(WORKER_PYTHON_SETTING)
