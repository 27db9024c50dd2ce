"""Where MicroPython's WebAssembly build and Node.js are on this machine.

Debian has no `micropython` package that a REPL on a pty could be had from on every release, and the Unix port
ends its raw REPL at the terminal; the build on npm is one file of 430 kB, has the event-driven raw REPL and
runs wherever Node.js does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from esp_hil.errors import RuntimeFailed
from esp_hil.settings import checkout, variable_path

PACKAGE = "@micropython/micropython-webassembly-pyscript"
VERSION = "1.27.0"
_FILE = Path("node_modules") / PACKAGE / "micropython.mjs"
INSTALL = f"npm install --no-save --no-package-lock --prefix . {PACKAGE}@{VERSION}"


def node() -> str:
    """The program Node.js.

    Raises:
        RuntimeFailed: it is not installed.
    """
    found = shutil.which("node")
    if found is None:
        raise RuntimeFailed(
            "a virtual MicroPython board needs Node.js, and there is no `node`",
            hint="install it (Debian: apt-get install nodejs npm)",
            step="start",
        )
    return found


def interpreter() -> Path:
    """The file micropython.mjs: what HIL_MICROPYTHON names, else in node_modules here, above or beside us.

    Raises:
        RuntimeFailed: it is not installed.
    """
    named = variable_path("HIL_MICROPYTHON")
    if named is not None:
        if named.is_file():
            return named
        raise RuntimeFailed(f"HIL_MICROPYTHON names {named}, which is not a file", hint=INSTALL, step="start")
    here = Path.cwd()
    for folder in (here, *here.parents, *([root] if (root := checkout()) is not None else [])):
        if (folder / _FILE).is_file():
            return folder / _FILE
    raise RuntimeFailed(
        "a virtual MicroPython board needs MicroPython's WebAssembly build", hint=INSTALL, step="start"
    )


def missing() -> str:
    """Why no virtual MicroPython board can run here, one line; "" if one can."""
    try:
        node()
        interpreter()
    except RuntimeFailed as error:
        return str(error)
    return ""
