"""The lists in CMakeLists.txt: what is packaged, compared with what there is.

python -m Testing.packaging_list            says what is missing and what is listed in vain
python -m Testing.packaging_list --write    brings the lists up to date
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTENSION, MODULES = Path("CMakeLists.txt"), Path("DeepTranslate/CMakeLists.txt")
# Pictures of the documentation, which nothing reads.
NOT_PACKAGED = ("Resources/Screenshots/",)

Lists = dict[tuple[Path, str], list[str]]


def wanted(root: Path = ROOT) -> Lists:
    """What belongs into each list: paths relative to the CMakeLists.txt that has it."""
    library = _files(root, "DeepTranslateLib", "**/*.py")
    resources = [
        path for path in _files(root, "Resources", "**/*") if not path.startswith(NOT_PACKAGED)
    ]
    folder = root / MODULES.parent
    modules = [path.removesuffix(".py") for path in _files(folder, ".", "*.py")]
    lists: Lists = {
        (EXTENSION, "LIBRARY_SCRIPTS"): library,
        (EXTENSION, "LIBRARY_RESOURCES"): resources,
        (MODULES, "MODULE_NAMES"): modules,
    }
    for module in modules:
        lists[MODULES, f"{module}_RESOURCES"] = []
    for path in _files(folder, "Resources", "**/*"):
        # The module whose name is the longest that the file's begins with, else the first.
        owners = [module for module in modules if Path(path).stem.startswith(module)]
        owner = max(owners, key=len, default=modules[0] if modules else "")
        if owner:
            lists[MODULES, f"{owner}_RESOURCES"].append(path)
    return lists


def listed(file: Path, name: str, root: Path = ROOT) -> list[str]:
    """What a CMakeLists.txt lists under a name."""
    found = _pattern(name).search((root / file).read_text(encoding="utf-8"))
    if found is None:
        raise KeyError(f"{file} has no set({name} ...)")
    return found["items"].split()


def differences(root: Path = ROOT) -> list[str]:
    """Sentences about what is missing in the lists and what is listed in vain."""
    found = []
    for (file, name), paths in wanted(root).items():
        there = listed(file, name, root)
        found += [f"{path} is not in {name} of {file}" for path in paths if path not in there]
        found += [f"{path} in {name} of {file} is not there" for path in there if path not in paths]
        found += [
            f"{path} is twice in {name} of {file}"
            for path in sorted(set(there))
            if there.count(path) > 1
        ]
    return found


def write(root: Path = ROOT) -> None:
    """Bring the lists up to date."""
    for (file, name), paths in wanted(root).items():
        items = "".join(f"  {path}\n" for path in paths)
        text = (root / file).read_text(encoding="utf-8")
        text, count = _pattern(name).subn(f"set({name}\n{items}  )", text)
        if not count:
            raise KeyError(f"{file} has no set({name} ...)")
        with (root / file).open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)


def _files(root: Path, folder: str, pattern: str) -> list[str]:
    paths = (path for path in (root / folder).glob(pattern) if path.is_file())
    names = (path.relative_to(root).as_posix() for path in paths)
    return sorted(name for name in names if not re.search(r"__pycache__|(^|/)[.]", name))


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"^set\({name}\n(?P<items>(?:  [^\s)]\S*\n)*)  \)$", re.MULTILINE)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--write", action="store_true", help="bring the lists up to date")
    if arguments.parse_args().write:
        write()
    print("\n".join(differences()) or "The lists are complete.")
    raise SystemExit(bool(differences()))
