"""The suites that come with the package, for a folder where nothing but `golden/` is.

In a checkout they lie in `suites/`, beside the package, and pyproject.toml names them to pytest. In a wheel they
are a folder of the package, and pytest has to be told where.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.settings import shipped


def folder() -> Path | None:
    """Where the suites lie: in the installed package, else beside it in a checkout; None if nowhere."""
    return shipped("suites")


def add_to(config: pytest.Config) -> None:
    """Let `pytest --target CHIP` collect the suites too, in a folder with models of its own.

    Nothing changes where the user named what to run, on the command line or as `testpaths`. Of the folder itself
    its test files and `tests/` are collected: pytest leaves out a path that lies below another one, as the
    suites of a virtual environment in this folder do.
    """
    here = config.invocation_params.dir
    named = config.args_source is not pytest.Config.ArgsSource.INVOCATION_DIR
    if named or not config.getoption("target", None) or not any(here.glob("golden/*/model.toml")):
        return
    suites = folder()
    if suites is not None:
        own = [*sorted(here.glob("test_*.py")), *here.glob("tests")]
        config.args = [*map(str, own), str(suites)]
        # pytest-embedded touches record_xml_attribute in every test; a folder without settings would show each
        config.addinivalue_line("filterwarnings", "ignore::pytest.PytestExperimentalApiWarning")
