"""Why an installation failed and what to do about it, read from what pip said."""

from __future__ import annotations

import platform
import re
import sys

from slicer.i18n import tr as _

# The first one that is found counts, so causes come before the consequences that pip reports too.
_CAUSES = (
    ("disk", r"No space left on device|\[Errno 28\]|WinError 112|not enough space on the disk"),
    ("inUse", r"WinError 32|WinError 5\b.*(?:torch|\.pyd|\.dll)|being used by another process"),
    (
        "longPath",
        r"WinError 206|Long Path support|[Ff]ile ?name or extension is too long"
        r"|\[Errno 2\] No such file or directory: '[^']{230,}",
    ),
    ("permission", r"Permission denied|\[Errno 13\]|WinError 5\b|Access is denied|Read-only file"),
    (
        "proxy",
        r"ProxyError|Cannot connect to proxy|Proxy Authentication Required|Tunnel connection",
    ),
    ("certificate", r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError"),
    (
        "network",
        r"NewConnectionError|Failed to establish a new connection|name resolution|getaddrinfo"
        r"|Network is unreachable|ConnectTimeout|Read timed out|ReadTimeout|Connection refused"
        r"|ConnectionResetError|Connection aborted|Max retries exceeded|Connection broken",
    ),
    ("damaged", r"DO NOT MATCH THE HASHES|BadZipFile|is not a valid wheel|IncompleteRead"),
    ("conflict", r"ResolutionImpossible|conflicting dependencies|because these package versions"),
    ("nothing", r"from versions: none"),
    ("absent", r"No matching distribution found|Could not find a version that satisfies"),
    ("memory", r"MemoryError|returned non-zero exit status -9|\bKilled\b"),
)


def explain(log: str, packages: list[str], wheelFolder: str = "") -> str:
    """Return what happened and what to do, for a person.

    Args:
        log: What pip printed, and the error's text.
        packages: Requirements that should have been installed, such as "monai>=1.6".
        wheelFolder: Folder that they should have come from; empty: the network.
    """
    cause = next((name for name, pattern in _CAUSES if re.search(pattern, log)), "")
    if wheelFolder and cause in ("nothing", "absent"):
        cause = "notInFolder"
    texts = {
        "disk": _(
            "The disk is full. Free some space (PyTorch takes about 1 GB, with support for NVIDIA "
            "graphics cards about 7 GB) and press Install again."
        ),
        "inUse": _(
            "A file that should be replaced is in use by Slicer. Restart Slicer and press Install "
            "before anything else."
        ),
        "longPath": _(
            "The path of Slicer's folder is too long for Windows. Install Slicer in a shorter one, "
            "such as C:\\Slicer, or ask the administrator to switch on long paths, and try again."
        ),
        "permission": _(
            "Slicer's folder may not be written to. Install Slicer in a folder of your own, or "
            "start it once with the rights of an administrator and press Install there."
        ),
        "proxy": _(
            "The proxy refused the connection. Correct it under Options, in the form "
            "http://user:password@host:port, and press Install again."
        ),
        "certificate": _(
            "The encrypted connection could not be verified. Some hospitals and firewalls replace "
            "certificates: ask the administrator for the proxy to use, and enter it under Options."
        )
        + "\n"
        + offlineAdvice(packages),
        "network": _(
            "There is no connection to the package index. Check the network and, where there is "
            "one, the proxy under Options."
        )
        + "\n"
        + offlineAdvice(packages),
        "damaged": _("A download arrived damaged. Press Install again."),
        "conflict": _(
            "The packages would have to replace versions that belong to Slicer, which is not done. "
            "Use a newer Slicer, or choose another Python for the worker under Options."
        ),
        # pip says the same of an index that it cannot reach as of one that has nothing.
        "nothing": _(
            "No version of {name} was found: either the package index cannot be reached, or it has "
            "none for this system ({system}). Check the network; behind a proxy, enter it under "
            "Options."
        ).format(name=missingName(log), system=_system())
        + "\n"
        + offlineAdvice(packages),
        "absent": _(
            "There is no suitable version of {name} for this system ({system}). Choose another "
            "Python for the worker under Options, or use another computer."
        ).format(name=missingName(log), system=_system()),
        "notInFolder": _(
            "The wheel folder {folder} has no suitable file of {name} for this system ({system})."
        ).format(folder=wheelFolder, name=missingName(log), system=_system())
        + "\n"
        + offlineAdvice(packages),
        "memory": _(
            "The computer ran out of memory. Close other programs and press Install again."
        ),
    }
    if cause in texts:
        return texts[cause]
    return _(
        "pip ended with an error: {line}\nThe report has all that pip said. Restart Slicer and "
        "press Install again; where that does not help, the report is what to ask with."
    ).format(line=_lastError(log))


def offlineAdvice(packages: list[str]) -> str:
    """Return how to install without a network."""
    return _(
        "Without a network: on another computer of the same kind, with Python {python}, run\n"
        "pip download -d FOLDER {packages}\n"
        "bring the folder here and choose it as wheel folder under Options."
    ).format(
        python=".".join(map(str, sys.version_info[:2])),
        packages=" ".join(f'"{package}"' for package in packages),
    )


def missingName(log: str) -> str:
    """Return the package that pip did not find, or "a package"."""
    found = re.search(
        r"(?:No matching distribution found for|satisfies the requirement) ([\w.\-]+)", log
    )
    return found[1] if found else _("a package")


def _system() -> str:
    version = ".".join(map(str, sys.version_info[:2]))
    return f"{platform.system()} {platform.machine()}, Python {version}"


def _lastError(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR|error|\w*Error\b", line)]
    return (errors or lines or [_("it said nothing")])[-1][:300]
