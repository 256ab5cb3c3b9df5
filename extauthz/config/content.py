"""What a configuration file holds, read apart from what it means: reading may hang, as on a file system that is gone."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The bytes of the file `name`, or None and in `refused` why there are none."""

    name: str
    raw: bytes | None = None
    refused: str = ""


def read_content(file: Path) -> Content:
    """Read a file of at most 1 MiB; whatever is wrong with it, from "there is no such file" on, is in `refused`."""
    name = str(file)
    try:
        with open(file, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return Content(name=name, refused="is no regular file; what comes from a pipe can be read only once")
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return Content(name=name, refused=_os_text(error))
    if len(raw) > MAX_BYTES:
        return Content(name=name, refused=f"is larger than {MAX_BYTES >> 20} MiB, which no configuration is")
    return Content(name=name, raw=raw)


def _without_waiting(path: str, flags: int) -> int:
    """A pipe is opened without somebody who writes to it, and refused, instead of waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _os_text(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "is a directory; name the file in it"
    return f"cannot be read: {(error.strerror or 'input/output error').lower()}"
