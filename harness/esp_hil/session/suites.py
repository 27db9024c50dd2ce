"""The suites that come with the package, for a folder where nothing but `golden/` is.

In a checkout they lie in `suites/`, beside the package, and pyproject.toml names them to pytest. In a wheel they
are a folder of the package, and pytest has to be told where.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.settings import shipped

_OURS = {"boards.toml", "reports"}


def folder() -> Path | None:
    """Where the suites lie: in the installed package, else beside it in a checkout; None if nowhere."""
    return shipped("suites")


def add_to(config: pytest.Config, *, asked: bool) -> None:
    """Let `pytest --target CHIP` collect the suites too.

    That is in a folder with models of its own, in an empty one, or if they are asked for.

    Nothing changes where the user named what to run, on the command line or as `testpaths`, and did not ask. Of
    the folder itself its test files and `tests/` are collected: pytest leaves out a path that lies below another
    one, as the suites of a virtual environment in this folder do.
    """
    here = config.invocation_params.dir
    suites = folder()
    if suites is None or not config.getoption("target", None):
        return
    if config.args_source is not pytest.Config.ArgsSource.INVOCATION_DIR:
        if asked and not any((here / name).resolve() == suites for name in config.args):
            config.args = [*config.args, str(suites)]
    elif asked or of_a_folder_with_models(config) or _empty(here):
        own = [*sorted(here.glob("test_*.py")), *here.glob("tests")]
        config.args = [*map(str, own), str(suites)]
        # pytest-embedded touches record_xml_attribute in every test; a folder without settings would show each
        config.addinivalue_line("filterwarnings", "ignore::pytest.PytestExperimentalApiWarning")


def of_a_folder_with_models(config: pytest.Config) -> bool:
    """Whether a chip is to be tested, from a folder that has models of its own, as a checkout has."""
    here = config.invocation_params.dir
    return bool(config.getoption("target", None)) and any(here.glob("golden/*/model.toml"))


def _empty(folder: Path) -> bool:
    """Whether there is nothing but what we look for or write, hidden files, and virtual environments."""
    return all(
        entry.name.startswith(".") or entry.name in _OURS or (entry / "pyvenv.cfg").is_file()
        for entry in folder.iterdir()
    )
