"""The pytest plugin: options, fixtures and hooks. What they do is elsewhere (options, runner, report).

pytest-embedded stays installed and keeps its options: `--target`, `--port` and `--baud` are its own and are
read here.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from esp_hil.errors import ConfigError, DeviceCrashed, HilError

if TYPE_CHECKING:
    from esp_hil.results.regress import Comparison
    from esp_hil.session.options import Combination, Options
    from esp_hil.session.session import Measured, Session
    from esp_hil.session.workbench import Bench

OPTIONS = pytest.StashKey["Options"]()
SESSION = pytest.StashKey["Session"]()
PROBLEM = pytest.StashKey[HilError]()
CONTROLLER = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options beside pytest-embedded's."""
    group = parser.getgroup("esp-hil", "neural networks on ESP32 chips (with --target of pytest-embedded)")
    group.addoption(
        "--board",
        help="id of boards.toml, port, URL, `virtual`, `qemu` or `esp-emu` (also qemu:/path/of/program); "
        "default: the attached board of the target",
    )
    group.addoption("--model", action="append", help="models, comma-separated; default: all of golden/")
    group.addoption("--recipe", action="append", help="quantization recipes; default: all of the model")
    group.addoption("--runtime", action="append", help="espdl, tflm; default: all that the models have")
    group.addoption("--runs", type=int, default=30, help="timed repetitions of an inference (default 30)")
    group.addoption("--warmup", type=int, default=3, help="runs before the timed ones (default 3)")
    group.addoption("--inputs", type=int, help="golden inputs to send; default: all")
    group.addoption(
        "--data",
        metavar="FILE|FOLDER",
        help="send the test images of the models' data sets, which lie there, instead of the golden inputs",
    )
    group.addoption("--cores", type=int, default=1, help="cores that an inference may use (default 1)")
    group.addoption("--mlperf-tiny", metavar="DIR", help="folder with MLPerf Tiny's .tflite models")
    group.addoption(
        "--mlperf-window",
        type=float,
        metavar="S",
        help="seconds of a window (default: the rules' 10; virtual 0.2)",
    )
    group.addoption("--zoo", metavar="DIR", help="folder with ESP-DL's own models (default: HIL_ZOO)")
    group.addoption("--micropython-image", metavar="FILE", help="prebuilt MicroPython image to flash first")
    group.addoption(
        "--micropython-quirks", metavar="NAMES", help="what is wrong with a virtual MicroPython board"
    )
    group.addoption("--results", help="folder for rows and reports (default reports/out/<time>)")
    group.addoption("--baseline", help="rows to compare with: folder, .jsonl file, or a history")
    group.addoption(
        "--across", action="append", help="conditions that may differ from the baseline's, comma-separated"
    )
    group.addoption("--threshold", action="append", help="another allowance of a gate: NAME=5%% or NAME=200")
    group.addoption("--gate-simulated", action="store_true", help="gate simulated latency as well")
    group.addoption("--history", help="URL or SQLite file that all rows go into at the end")
    group.addoption(
        "--build-profile",
        action="append",
        help="fragments of firmware/profiles to build with; default: what suits the board",
    )
    group.addoption("--skip-lint", action="store_true", help="also run models that `hil lint` refuses")
    group.addoption(
        "--no-resident", action="store_true", help="send golden inputs that the device could keep"
    )
    group.addoption("--record", metavar="FILE", help="keep the bytes of each board's line with their times")
    group.addoption("--virtual-faults", help="plan of what is wrong with virtual boards (.toml or .json)")


def options_of(config: pytest.Config) -> Options:
    """The command line as one frozen value; made once."""
    from esp_hil.session.options import Options, words

    if OPTIONS not in config.stash:
        results = config.getoption("results") or f"reports/out/{datetime.now():%Y%m%d-%H%M%S}"
        results = _of_controller(config, "hil_results") or results
        for name, least in (("runs", 1), ("warmup", 0), ("cores", 1), ("inputs", 1)):
            given = config.getoption(name)
            if given is not None and given < least:
                raise ConfigError(f"--{name} {given}: must be at least {least}")
        config.stash[OPTIONS] = Options(
            targets=words(config.getoption("target", None)),
            board=_board(config),
            port=config.getoption("port", None),
            baud=int(config.getoption("baud", None) or 0) or None,
            models=words(config.getoption("model")),
            recipes=words(config.getoption("recipe")),
            runtimes=words(config.getoption("runtime")),
            runs=config.getoption("runs"),
            warmup=config.getoption("warmup"),
            inputs=config.getoption("inputs"),
            data=Path(config.getoption("data")) if config.getoption("data") else None,
            cores=config.getoption("cores"),
            results=Path(results),
            baseline=config.getoption("baseline"),
            across=words(config.getoption("across")),
            thresholds=words(config.getoption("threshold")),
            gate_simulated=config.getoption("gate_simulated"),
            history=config.getoption("history"),
            virtual_faults=config.getoption("virtual_faults"),
            build_dir=config.getoption("build_dir", None),
            app_path=config.getoption("app_path", None),
            skip_flash=_yes(config.getoption("skip_autoflash", None)),
            build_profile=words(config.getoption("build_profile")),
            emulator_args=_emulator_args(config),
            record=Path(config.getoption("record")) if config.getoption("record") else None,
            lint=not config.getoption("skip_lint"),
            resident=not config.getoption("no_resident"),
        )
    return config.stash[OPTIONS]


def _yes(given: str | None) -> bool:
    """What pytest-embedded takes for yes."""
    return str(given or "").lower() in {"y", "yes", "true"}


def _board(config: pytest.Config) -> str | None:
    """`--board`; of an emulator with the program that pytest-embedded's own option names."""
    board: str | None = config.getoption("board")
    own = {"qemu": "qemu_prog_path", "esp-emu": "espemu_prog_path"}
    program = config.getoption(own[board], None) if board in own else None
    return f"{board}:{program}" if program else board


def _emulator_args(config: pytest.Config) -> str | None:
    """Further options of the emulator, by pytest-embedded's options for it; None: none were given."""
    option = (
        "espemu_extra_args" if str(config.getoption("board")).startswith("esp-emu") else "qemu_extra_args"
    )
    given: str | None = config.getoption(option, None)
    return given


def _micropython_named(config: pytest.Config) -> bool:
    """Whether the suite of boards under MicroPython was named on the command line."""
    return any("micropython" in word for word in config.args)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave suites/micropython out unless it was named: it would disturb a board with any other firmware."""
    ours = collection_path.name == "micropython" and collection_path.parent.name == "suites"
    return True if ours and not _micropython_named(config) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses our fixtures once for each combination of target, model and recipe."""
    if "combination" not in metafunc.fixturenames:
        return
    from esp_hil.session.options import combinations

    try:
        found = combinations(options_of(metafunc.config))
    except HilError as error:
        # the same for every test of the suites: it is said once, when all are collected
        metafunc.config.stash[PROBLEM] = error
        found = ()
    metafunc.parametrize("combination", found, ids=lambda c: c.id, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Finish one combination before the next, so that each board is prepared once for each model."""
    problem = config.stash.get(PROBLEM, None)
    if problem is not None:
        raise pytest.UsageError(str(problem))

    def key(item: pytest.Item) -> tuple[str, ...]:
        callspec = getattr(item, "callspec", None)
        combination = callspec.params.get("combination") if callspec else None
        return combination.sort_key if combination else ()

    items.sort(key=key)  # stable: the files' own order stays within a combination


@contextmanager
def _uncaptured(config: pytest.Config) -> Iterator[None]:
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Open the file of rows before the first test: a folder that cannot be written ends the run here."""
    config = session.config
    ours = any({"combination", "hil_session"} & set(_fixtures(item)) for item in session.items)
    if config.option.collectonly or not (ours or _controls_workers(config)):
        return
    from esp_hil.progress import progress_on
    from esp_hil.session.session import Session

    try:
        config.stash[SESSION] = Session(
            options_of(config), progress_on(sys.stderr), session_id=_of_controller(config, "hil_session")
        )
    except HilError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_configure(config: pytest.Config) -> None:
    """Find the suites; with pytest-xdist, name the session that all workers record for."""
    from esp_hil.session import suites

    suites.add_to(config)
    if _controls_workers(config):
        told = {"hil_session": str(uuid.uuid4()), "hil_results": str(options_of(config).results)}
        config.stash[CONTROLLER] = told


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - of pytest-xdist
    """Keep all tests of a board on one worker: they share what was measured."""
    if config.getoption("dist") != "load" or not _controls_workers(config):
        return None
    from esp_hil.session.workers import BoardScheduling

    return BoardScheduling(config, log, options_of(config))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - of pytest-xdist, which may be absent
    """Tell a worker whose session its rows belong to."""
    node.workerinput.update(node.config.stash.get(CONTROLLER, {}))


def _controls_workers(config: pytest.Config) -> bool:
    """Whether this process runs the suites in workers of pytest-xdist."""
    distributes = getattr(config.option, "dist", "no") != "no" and getattr(config.option, "tx", None)
    return bool(distributes and config.getoption("target", None) and not hasattr(config, "workerinput"))


def _of_controller(config: pytest.Config, name: str) -> str:
    """What the controlling process says; in it, what it says itself; "" without workers."""
    told: dict[str, str] = getattr(config, "workerinput", None) or config.stash.get(CONTROLLER, {})
    return told.get(name, "")


def _fixtures(item: pytest.Item) -> list[str]:
    names: list[str] = getattr(item, "fixturenames", [])
    return names


@pytest.fixture(scope="session")
def hil_session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """The session: opened boards, the recorder of rows. Closes the boards at the end."""
    session = request.config.stash[SESSION]
    yield session
    session.close()


@pytest.fixture(scope="session")
def combination(request: pytest.FixtureRequest) -> Combination:
    """The model, recipe and target that a test runs on."""
    chosen: Combination = request.param
    return chosen


@pytest.fixture
def bench(hil_session: Session, combination: Combination, request: pytest.FixtureRequest) -> Bench:
    """The board with the model on it, for tests that talk to it themselves.

    Of each test anew: it costs nothing while the board is well, and one that broke in the test before is
    brought back.
    """
    with _uncaptured(request.config):
        return hil_session.bench(combination)


@pytest.fixture
def console(request: pytest.FixtureRequest, hil_session: Session, combination: Combination) -> Any:  # noqa: ANN401
    """pytest-embedded's `dut` on the port of the combination's board; skips without a service that reads it."""
    if not _reads_serial(request.config):
        pytest.skip("no dut: --embedded-services serial, or esp,idf with a chip")
    held = hil_session.open(combination)
    if held.url.startswith("socket://"):
        pytest.skip(f"{held.id} is behind a socket, which takes one connection: no dut beside the harness")
    return request.getfixturevalue("dut")


@pytest.fixture
def frames(
    hil_session: Session,
    combination: Combination,
    console: Any,  # noqa: ANN401
) -> Callable[[], AbstractContextManager[Bench]]:
    """The harness has the port inside a `with` of what this gives; the reader of the `dut` pauses meanwhile."""
    return lambda: hil_session.frames(combination, console)


@pytest.fixture(scope="session")
def measured(hil_session: Session, combination: Combination, request: pytest.FixtureRequest) -> Measured:
    """What one run over all golden inputs gave; made once for a combination, read by many tests."""
    with _uncaptured(request.config):
        return hil_session.measure(combination)


@pytest.fixture(scope="session")
def against(hil_session: Session, combination: Combination, request: pytest.FixtureRequest) -> Comparison:
    """What the baseline says of one run; skips without a baseline, or where it does not have the model."""
    if hil_session.baseline is None:
        pytest.skip("no baseline: give one with --baseline")
    with _uncaptured(request.config):
        found = hil_session.against(combination)
    if found.added:
        pytest.skip(f"the baseline has no row of {found.added[0].words}")
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """Leave the boards' ports to pytest-embedded for as long as its `serial` lives: a port has one reader."""
    session = request.config.stash.get(SESSION, None)
    if fixturedef.argname == "serial" and session is not None and _reads_serial(request.config):
        session.fleet.lend_ports()
        fixturedef.addfinalizer(session.fleet.take_ports_back)


def _reads_serial(config: pytest.Config) -> bool:
    """Whether a service of pytest-embedded reads a port."""
    services = str(config.getoption("embedded_services", None) or "")
    return bool({"serial", "esp"} & {name.strip() for name in services.split(",")})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show an error of ours as its one line, without our stack; what a test of the suites said goes into its row."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, HilError):
        error = call.excinfo.value
        report.longrepr = f"{type(error).__name__}: {error}"
        if isinstance(error, DeviceCrashed):
            told = (("backtrace", error.trace), ("console of the board", error.console))
            report.sections += [(title, text) for title, text in told if text]
    hil = item.config.stash.get(SESSION, None)
    callspec = getattr(item, "callspec", None)
    if hil is not None and callspec is not None and "combination" in callspec.params:
        from esp_hil.session.checks import check_of

        if (check := check_of(item, call, report)) is not None:
            hil.checked(callspec.params["combination"], check)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports of what was recorded; workers leave that to the process that controls them."""
    hil = session.config.stash.get(SESSION, None)
    if hil is None or hasattr(session.config, "workerinput"):
        return
    if _controls_workers(session.config):
        hil.gather()
    hil.write_reports()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the short table and where the reports are."""
    hil = config.stash.get(SESSION, None)
    if hil is None or not hil.rows:
        return
    terminalreporter.section("esp-hil")
    for line in hil.summary():
        terminalreporter.write_line(line)
