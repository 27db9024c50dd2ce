"""Values of options that pytest takes for folders of tests.

pytest chooses its root folder and its configuration file before it knows the options of plugins. In
`pytest --target esp32s3 --port /dev/ttyUSB0` the port is then one more word, and it exists: the root is /dev,
the project's configuration is not read, and everything below the current folder is collected, not its `testpaths`.
`--port=/dev/ttyUSB0` has no such word. So the command line is begun anew with each such value at its option.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_NO_WARNING = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
"""Of plugins that the first beginning has loaded: pytest has nothing in them to rewrite any more."""


def begun_anew(config: pytest.Config) -> list[str] | None:
    """The command line by which pytest finds the root folder of where it was started; None where it did.

    Args:
        config: with its options parsed, before any session.
    """
    here = config.invocation_params.dir
    if config.getoption("rootdir") or config.getoption("inifilename"):
        return None
    if config.inipath is None and config.rootpath == here:
        return None
    if config.inipath is not None and here.is_relative_to(config.inipath.parent):
        return None
    given = [str(word) for word in config.invocation_params.args]
    joined = _joined(given, here, set(config.getoption("file_or_dir")))
    return None if joined == given else [*_NO_WARNING, *joined]


def _joined(given: list[str], here: Path, paths: set[str]) -> list[str]:
    """Words with each value that exists as a path, and is none of the asked ones, at its option."""
    found: list[str] = []
    for word in given:
        before = found[-1] if found else ""
        is_value = (
            before.startswith("--") and "=" not in before and not word.startswith("-") and word not in paths
        )
        if is_value and _is_there(here / word.partition("::")[0]):
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a word too long for a name, as pytest's own `-k` may be
        return False
