"""Files that are whole or absent: written under a temporary name, flushed, renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends well.

    The temporary name keeps the suffixes, since writers choose the format by them. When the
    block raises, the temporary file is removed and `path` stays as it was.

    Raises:
        OSError: The folder does not exist or cannot be written.
    """
    target = Path(path)
    # NAME.nii.gz needs both suffixes; a name such as "CT.1.3.12" has none that matter.
    suffixes = "".join(target.suffixes[-2:])
    temporary = target.with_name(f".{secrets.token_hex(6)}.part{suffixes}")
    try:
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
