"""The extension: every file is packaged, its descriptions agree, and it works installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from Testing import packaging_list

ROOT = Path(__file__).resolve().parents[2]
HOME = "https://github.com/deeptranslate/SlicerDeepTranslate"
RAW = "https://raw.githubusercontent.com/deeptranslate/SlicerDeepTranslate/main/"
NAME = "DeepTranslate"
METADATA = ("CMakeLists.txt", "DeepTranslate/CMakeLists.txt", f"{NAME}.s4ext", f"{NAME}.json")


def cmake_text() -> str:
    return (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def extension(name: str) -> str:
    """Value of EXTENSION_<name>; one line, in quotes, as the Extensions Index reads it."""
    (value,) = re.findall(rf'^set\(EXTENSION_{name} "([^"\n]*)"\)$', cmake_text(), re.MULTILINE)
    return value


def s4ext() -> dict[str, str]:
    lines = (ROOT / f"{NAME}.s4ext").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", data[16:24])


# The lists


def test_every_file_is_packaged_and_nothing_that_is_not_there() -> None:
    found = packaging_list.differences()
    assert not found, "Run: python -m Testing.packaging_list --write\n" + "\n".join(found)


def test_the_lists_have_what_an_installation_cannot_do_without() -> None:
    scripts = packaging_list.listed(packaging_list.EXTENSION, "LIBRARY_SCRIPTS")
    resources = packaging_list.listed(packaging_list.EXTENSION, "LIBRARY_RESOURCES")
    assert {"DeepTranslateLib/__init__.py", "DeepTranslateLib/__main__.py"} <= set(scripts)
    assert {"Resources/requirements.txt", "Resources/Recipes/ct-body-composition.json"} <= set(
        resources
    )
    assert not any("Screenshots" in path for path in resources)
    modules = packaging_list.listed(packaging_list.MODULES, "MODULE_NAMES")
    assert {"DeepTranslate", "DeepTranslateTrain"} <= set(modules)
    for module in modules:
        files = packaging_list.listed(packaging_list.MODULES, f"{module}_RESOURCES")
        assert f"Resources/Icons/{module}.png" in files
        assert f"Resources/UI/{module}.ui" in files


def small_tree(root: Path) -> Path:
    for path in (
        "DeepTranslateLib/__init__.py",
        "DeepTranslateLib/engine/loss.py",
        "DeepTranslateLib/__pycache__/x.py",
        "Resources/Recipes/a.json",
        "Resources/Screenshots/a.png",
        "DeepTranslate/A.py",
        "DeepTranslate/AB.py",
        "DeepTranslate/Resources/UI/AB.ui",
        "DeepTranslate/Resources/UI/Other.ui",
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    (root / "CMakeLists.txt").write_text(
        "set(LIBRARY_SCRIPTS\n  )\nset(LIBRARY_RESOURCES\n  gone.txt\n  )\nafter()\n"
    )
    (root / "DeepTranslate/CMakeLists.txt").write_text(
        "set(MODULE_NAMES\n  )\nset(A_RESOURCES\n  )\nset(AB_RESOURCES\n  )\n"
    )
    return root


def test_differences_are_named_and_write_removes_them(tmp_path: Path) -> None:
    root = small_tree(tmp_path)
    found = packaging_list.differences(root)
    assert "DeepTranslateLib/engine/loss.py is not in LIBRARY_SCRIPTS of CMakeLists.txt" in found
    assert "gone.txt in LIBRARY_RESOURCES of CMakeLists.txt is not there" in found
    assert len(found) == 2 + 1 + 1 + 2 + 2
    packaging_list.write(root)
    assert packaging_list.differences(root) == []
    assert (root / "CMakeLists.txt").read_text() == (
        "set(LIBRARY_SCRIPTS\n  DeepTranslateLib/__init__.py\n  DeepTranslateLib/engine/loss.py\n"
        "  )\nset(LIBRARY_RESOURCES\n  Resources/Recipes/a.json\n  )\nafter()\n"
    )
    before = (root / "DeepTranslate/CMakeLists.txt").read_bytes()
    packaging_list.write(root)
    assert (root / "DeepTranslate/CMakeLists.txt").read_bytes() == before


def test_a_resource_belongs_to_the_module_it_is_named_after(tmp_path: Path) -> None:
    root = small_tree(tmp_path)
    packaging_list.write(root)
    assert packaging_list.listed(packaging_list.MODULES, "AB_RESOURCES", root) == [
        "Resources/UI/AB.ui"
    ]
    assert packaging_list.listed(packaging_list.MODULES, "A_RESOURCES", root) == [
        "Resources/UI/Other.ui"
    ]


# The descriptions


def test_the_project_is_called_like_the_files_that_describe_it() -> None:
    assert re.findall(r"^project\((\w+)\)$", cmake_text(), re.MULTILINE) == [NAME]
    assert (ROOT / f"{NAME}.s4ext").is_file()
    assert (ROOT / f"{NAME}.json").is_file()
    assert (ROOT / "LICENSE").is_file()


def test_the_entry_of_the_extensions_index_is_as_its_schema_wants() -> None:
    entry = json.loads((ROOT / f"{NAME}.json").read_text(encoding="utf-8"))
    assert {"$schema", "category", "scm_url"} <= set(entry)
    # The schema has no other properties.
    assert set(entry) <= {
        "$schema", "build_dependencies", "build_subdirectory", "category", "enabled",
        "scm_revision", "scm_type", "scm_url", "tier",
    }  # fmt: skip
    assert entry["$schema"].startswith("https://raw.githubusercontent.com/Slicer/Slicer/main/")
    assert entry["tier"] in (1, 3, 5)
    assert entry["build_subdirectory"] == "."


def test_the_three_descriptions_agree() -> None:
    entry = json.loads((ROOT / f"{NAME}.json").read_text(encoding="utf-8"))
    old = s4ext()
    assert entry["category"] == old["category"] == extension("CATEGORY") == "Image Synthesis"
    assert entry["scm_url"] == old["scmurl"] == HOME + ".git"
    assert entry["scm_revision"] == old["scmrevision"]
    assert entry["build_dependencies"] == old["depends"].split() == extension("DEPENDS").split()
    assert entry["build_subdirectory"] == old["build_subdirectory"]
    assert old["homepage"] == extension("HOMEPAGE") == HOME
    assert old["iconurl"] == extension("ICONURL")
    assert old["screenshoturls"] == extension("SCREENSHOTURLS")
    assert old["description"] == extension("DESCRIPTION")
    assert old["contributors"] == extension("CONTRIBUTORS")


def test_pictures_of_the_catalogue_are_in_the_repository() -> None:
    for url in [extension("ICONURL"), *extension("SCREENSHOTURLS").split()]:
        assert url.startswith(RAW)
        assert (ROOT / url.removeprefix(RAW)).is_file(), url
        assert url.endswith(".png")


def test_icons_have_the_size_that_slicer_shows() -> None:
    icons = [ROOT / f"{NAME}.png", *sorted((ROOT / NAME / "Resources/Icons").glob(f"{NAME}*.png"))]
    assert len(icons) >= 3
    for icon in icons:
        assert png_size(icon) == (128, 128), icon


def test_modules_lead_to_the_same_home() -> None:
    for module in (ROOT / NAME).glob("*.py"):
        for url in re.findall(r"https://github\.com/[\w./-]+", module.read_text(encoding="utf-8")):
            assert url.startswith(HOME), f"{module.name}: {url}"


@pytest.mark.parametrize("name", METADATA)
def test_descriptions_have_unix_line_ends(name: str) -> None:
    data = (ROOT / name).read_bytes()
    assert b"\r" not in data
    assert data.endswith(b"\n")


# The installation

SLICER_CONFIG = """
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/CPack.cmake")
"""

# What Slicer does with a scripted module: copy each file, below the same folders, into one folder.
# As there, a file that is not there and a second rule for the same file are errors.
USE_SLICER = """
enable_testing()
set(BUILD_TESTING ON)
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_NAME)
    message(FATAL_ERROR "unknown: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "nonexistent: ${file}")
    endif()
    get_property(known GLOBAL PROPERTY PACKAGED)
    if("${file}" IN_LIST known)
      message(FATAL_ERROR "twice: ${file}")
    endif()
    set_property(GLOBAL APPEND PROPERTY PACKAGED "${file}")
    get_filename_component(folder "${file}" DIRECTORY)
    install(FILES "${file}" DESTINATION "lib/Slicer-5.12/qt-scripted-modules/${folder}")
  endforeach()
  install(CODE "message(STATUS \\"module ${MY_NAME}\\")")
endfunction()
function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT" "" ${ARGN})
  get_filename_component(name "${MY_SCRIPT}" NAME_WE)
  add_test(NAME "py_${name}" COMMAND Slicer --testing "${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT}")
endfunction()
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the extension was built in, with what was installed under `installed`."""
    if not shutil.which("cmake") or not (shutil.which("cc") or os.name == "nt"):
        pytest.skip("needs cmake and a compiler")
    folder = tmp_path_factory.mktemp("extension")
    slicer = folder / "Slicer"
    slicer.mkdir()
    for name, text in (
        ("SlicerConfig.cmake", SLICER_CONFIG),
        ("UseSlicer.cmake", USE_SLICER),
        ("GenerateConfig.cmake", 'message(STATUS "depends: ${EXTENSION_DEPENDS}")\n'),
        ("CPack.cmake", 'message(STATUS "packaged: ${PROJECT_NAME} ${EXTENSION_CATEGORY}")\n'),
    ):
        (slicer / name).write_text(text)
    build = folder / "build"
    said = run("cmake", "-S", ROOT, "-B", build, f"-DSlicer_DIR={slicer}")
    assert "depends: PyTorch" in said
    assert "packaged: DeepTranslate Image Synthesis" in said
    run("cmake", "--install", build, "--prefix", folder / "installed")
    return folder


def run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def modules_folder(installation: Path) -> Path:
    return installation / "installed/lib/Slicer-5.12/qt-scripted-modules"


def test_the_installation_has_the_files_of_the_tree_and_their_contents(installation: Path) -> None:
    folder = modules_folder(installation)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wanted = {}
    for (file, name), paths in packaging_list.wanted().items():
        for path in paths:
            path += ".py" if name == "MODULE_NAMES" else ""
            wanted[path] = ROOT / file.parent / path
    assert there == set(wanted)
    for path, source in wanted.items():
        assert (folder / path).read_bytes() == source.read_bytes(), path


def test_self_tests_are_registered_with_ctest(installation: Path) -> None:
    said = run("ctest", "-N", "--test-dir", installation / "build")
    for module in packaging_list.listed(packaging_list.MODULES, "MODULE_NAMES"):
        assert f"py_{module}" in said


def test_modules_work_from_the_installation(installation: Path, tmp_path: Path) -> None:
    pytest.importorskip("slicer")
    code = textwrap.dedent(
        f"""
        import os, sys
        sys.path = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
        # A development environment has the library on its path; an installation has not.
        sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
        sys.path.append({str(tmp_path)!r})
        from Testing.host import gui, pythonqt
        gui.start()
        from pathlib import Path
        import slicer
        folder = Path({str(modules_folder(installation))!r})
        paths = sorted(folder.glob("*.py"))
        for path in paths:
            gui.loadModule(path)
        slicer.app.startupCompleted()
        for path in paths:
            widget = gui.selectModule(path.stem)
            slicer.app.processEvents()
            assert slicer.util.getModuleLogic(path.stem) is not None
            assert Path(widget.resourcePath("UI/" + path.stem + ".ui")).is_file()
            widget.parent.exit()
        import DeepTranslateLib
        assert Path(DeepTranslateLib.__file__).is_relative_to(folder), DeepTranslateLib.__file__
        from DeepTranslateLib.recipe import builtin_recipes
        assert "ct-body-composition" in builtin_recipes()
        assert all(p.is_relative_to(folder) for p in builtin_recipes().values())
        from DeepTranslateLib.mrml import requirements, sampledata
        assert requirements.FILE.is_relative_to(folder) and requirements.read()
        assert sampledata._THUMBNAIL.is_file()
        from DeepTranslateLib.mrml.installing import Installation
        assert Installation().verify()["ready"]
        assert not pythonqt.slotErrors, pythonqt.slotErrors
        sys.stdout.flush()
        os._exit(0)
        """
    )
    # The host is no part of the installation: it comes by a link in a folder of its own.
    (tmp_path / "Testing").symlink_to(ROOT / "Testing")
    run(sys.executable, "-c", code, PYTHONPATH="", PYTHONDONTWRITEBYTECODE="1")
