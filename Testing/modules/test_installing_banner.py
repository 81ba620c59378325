"""The banner: shown while something is missing, one click installs, failures say what to do."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import qt
import slicer

from DeepTranslateLib.mrml.installing import InstallError
from DeepTranslateLib.mrml.panels.installbanner import InstallBanner
from DeepTranslateLib.mrml.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LACKS = [Requirement("torch", ">=2.8"), Requirement("monai", ">=1.6", "1.3.0")]
KEYS = ("DeepTranslate/WheelFolder", "DeepTranslate/Proxy", "DeepTranslate/WorkerPython")


@pytest.fixture(autouse=True)
def settings():
    stored = slicer.app.userSettings()
    before = {key: stored.value(key, "") for key in KEYS}
    for key in KEYS:
        stored.setValue(key, "")
    yield stored
    for key, value in before.items():
        stored.setValue(key, value)


class Played:
    """An installation that lacks what it is told, and succeeds or fails as told."""

    def __init__(self, lacks=(), error=None, needsRestart=False):
        self.lacks, self.error, self.needsRestart = list(lacks), error, needsRestart
        self.installs = 0
        self.seen = []
        self.meanwhile = lambda: None

    def missing(self):
        return self.lacks

    def install(self, onMessage):
        self.installs += 1
        onMessage("Collecting torch")
        self.meanwhile()
        if self.error is not None:
            raise self.error
        self.lacks = []
        return "Installed: torch. Restart Slicer: ..." if self.needsRestart else "Installed: torch."


@pytest.fixture
def shown():
    """Function that shows a banner in a window of its own and returns it."""
    windows = []

    def show(installation, onReady=None):
        window = qt.QWidget()
        banner = InstallBanner(qt.QVBoxLayout(window), onReady, installation)
        window.resize(460, 300)
        window.show()
        windows.append((window, banner))
        return banner

    yield show
    for window, _banner in windows:
        window.hide()
        window.deleteLater()


def test_the_banner_says_what_is_missing_and_how_large_it_is(shown):
    banner = shown(Played(LACKS))
    assert banner.widget.visible
    assert "torch 2.8 or newer: about" in banner.label.text
    assert "monai 1.6 or newer, 1.3.0 is too old: about 2 MB" in banner.label.text
    assert banner.installButton.text.startswith("Install (about ")
    assert not banner.failureLabel.visible
    assert not banner.progressBar.visible
    assert not banner.options.visible


def test_the_banner_is_hidden_where_nothing_is_missing(shown):
    assert not shown(Played()).widget.visible


def test_showing_and_refreshing_install_nothing(shown):
    installation = Played(LACKS)
    banner = shown(installation)
    banner.refresh()
    banner.optionsButton.checked = True
    banner.applyButton.click()
    assert installation.installs == 0


def test_one_click_installs_hides_the_banner_and_tells_the_panel(shown):
    installation, told = Played(LACKS), []
    banner = shown(installation, lambda: told.append(True))
    banner.installButton.click()
    assert installation.installs == 1
    assert told == [True]
    assert not banner.widget.visible


def test_progress_is_shown_and_a_second_click_does_nothing_meanwhile(shown):
    installation, seen = Played(LACKS), []
    banner = shown(installation)

    def meanwhile():
        seen.append((banner.progressBar.visible, banner.progressLabel.text, banner.isInstalling))
        seen.append(banner.installButton.enabled)
        banner.install()
        banner.refresh()

    installation.meanwhile = meanwhile
    banner.installButton.click()
    assert seen == [(True, "Collecting torch", True), False]
    assert installation.installs == 1
    assert not banner.isInstalling


def test_a_failure_is_shown_with_its_way_out_and_can_be_tried_again(shown):
    installation, told = Played(LACKS, InstallError("The disk is full. Free some.", "pip said")), []
    banner = shown(installation, lambda: told.append(True))
    banner.installButton.click()
    assert banner.failureLabel.visible
    assert banner.failureLabel.text == "The disk is full. Free some."
    assert told == []
    banner.reportButton.click()
    assert slicer.app.clipboard().text() == "The disk is full. Free some.\n\npip said"
    installation.error = None
    banner.installButton.click()
    assert told == [True]
    assert not banner.failureLabel.visible


def test_after_an_error_that_nobody_foresaw_the_button_works_again(shown):
    installation = Played(LACKS, ValueError("unforeseen"))
    banner = shown(installation)
    with pytest.raises(ValueError, match="unforeseen"):
        banner.install()
    assert banner.installButton.enabled
    assert not banner.isInstalling


def test_a_needed_restart_stays_on_the_screen(shown):
    banner = shown(Played(LACKS, needsRestart=True))
    banner.installButton.click()
    assert banner.widget.visible
    assert "Restart Slicer" in banner.label.text
    assert not banner.installButton.visible


def test_refresh_sees_what_was_installed_elsewhere_and_what_was_removed(shown):
    installation = Played(LACKS)
    banner = shown(installation)
    installation.lacks = []
    banner.refresh()
    assert not banner.widget.visible
    installation.lacks = LACKS[:1]
    banner.refresh()
    assert banner.widget.visible


def test_options_are_kept_in_the_settings_before_the_installation_begins(shown, settings, tmp_path):
    installation, seen = Played(LACKS), []
    banner = shown(installation)
    banner.optionsButton.checked = True
    assert banner.options.visible
    banner.wheelFolderEdit.currentPath = str(tmp_path)
    banner.proxyEdit.text = " http://proxy:3128 "
    installation.meanwhile = lambda: seen.extend(settings.value(key, "") for key in KEYS[:2])
    banner.installButton.click()
    assert seen == [str(tmp_path), "http://proxy:3128"]
    again = shown(Played(LACKS))
    assert again.proxyEdit.text == "http://proxy:3128"
    assert again.wheelFolderEdit.currentPath == str(tmp_path)


def test_an_option_changed_elsewhere_is_not_overwritten(shown, settings):
    banner = shown(Played(LACKS))
    settings.setValue(KEYS[1], "http://other:1")
    banner.installButton.click()
    assert settings.value(KEYS[1], "") == "http://other:1"
    banner.refresh()
    assert banner.proxyEdit.text == "http://other:1"


def test_another_python_that_is_none_is_told_and_can_be_taken_back(shown, settings, tmp_path):
    from DeepTranslateLib.mrml.installing import Installation

    settings.setValue(KEYS[2], str(tmp_path / "no-python"))
    banner = shown(Installation())
    assert banner.widget.visible
    assert "no-python" in banner.failureLabel.text
    banner.pythonEdit.currentPath = ""
    banner.applyButton.click()
    assert "no-python" not in banner.failureLabel.text
    assert settings.value(KEYS[2], "") == ""


def test_panels_can_be_browsed_in_a_slicer_where_nothing_is_installed(inApplication):
    """A fresh process in which torch, monai and safetensors neither are nor can be loaded."""
    if inApplication:
        pytest.skip("the application cannot be started from inside")
    code = textwrap.dedent(
        """
        import importlib.abc, importlib.metadata, os, sys
        LACKS = ("torch", "monai", "safetensors", "rich", "matplotlib", "pandas")
        known = importlib.metadata.version
        def version(name):
            if name in LACKS:
                raise importlib.metadata.PackageNotFoundError(name)
            return known(name)
        importlib.metadata.version = version
        class Blocker(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in LACKS:
                    raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        sys.meta_path.insert(0, Blocker())

        from Testing.host import gui, packaging, pythonqt
        gui.start()
        import qt, slicer
        from pathlib import Path
        modules = sorted(Path("DeepTranslate").glob("DeepTranslate*.py"))
        for path in modules:
            gui.loadModule(path)
        slicer.app.startupCompleted()
        assert modules
        for path in modules:
            widget = gui.selectModule(path.stem)
            slicer.app.processEvents()
            frame = widget.parent
            banners = [w for w in frame.findChildren(qt.QFrame) if w.objectName == "InstallBanner"]
            print(path.stem, len(banners), [w.isVisibleTo(frame) for w in banners])
            frame.exit()
            assert [w.isVisibleTo(frame) for w in banners] == [True], path
        assert packaging.pipCalls == []
        assert not pythonqt.slotErrors, pythonqt.slotErrors
        assert not [name for name in LACKS if name in sys.modules]
        sys.stdout.flush()
        os._exit(0)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "DeepTranslate 1 [True]" in done.stdout
