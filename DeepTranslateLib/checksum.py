"""What tells one file from another: the SHA-256 of its contents."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """64 hexadecimal digits of a file's contents, read a block at a time.

    Raises:
        OSError: It is not there or cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
