"""The pytest plugin: options, fixtures and hooks. What they do is elsewhere (options, runner, report).

pytest-embedded stays installed and keeps its options: `--target`, `--port` and `--baud` are its own and are
read here.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from esp_hil.errors import DeviceCrashed, HilError, RowsNotWritten
from esp_hil.session.option_rows import ROWS, Options, Sources, given, meant, read, words

if TYPE_CHECKING:
    from esp_hil.models.catalogue import Kind
    from esp_hil.progress import Progress
    from esp_hil.results.record import Check
    from esp_hil.results.regress import Comparison
    from esp_hil.session.options import Combination
    from esp_hil.session.prepared_board import PreparedBoard
    from esp_hil.session.session import Measured, Session

OPTIONS = pytest.StashKey[Options]()
SESSION = pytest.StashKey["Session"]()
LEFT_OUT = pytest.StashKey[list[str]]()
PROBLEM = pytest.StashKey[HilError]()
COMBINATIONS = pytest.StashKey["dict[tuple[Kind, str], tuple[Combination, ...]]"]()
CONTROLLER = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options beside pytest-embedded's, and their keys in pytest's configuration file."""
    group = parser.getgroup("esp-hil", "neural networks on ESP32 chips (with --target of pytest-embedded)")
    for row in ROWS.values():
        told = f"{row.help.replace('%', '%%')} [{row.variable}]"
        if row.kind == "switch":
            group.addoption(row.option, dest=row.key, action="store_const", const="yes", help=told)
        elif row.kind == "list":
            group.addoption(row.option, dest=row.key, action="append", metavar=row.metavar, help=told)
        else:
            group.addoption(row.option, dest=row.key, metavar=row.metavar, help=told)
        parser.addini(row.key, f"as {row.option}", type="string", default="")


EDITABLE = "_editable_skbc_esp_hil"
"""The module by which Python finds an editable install of this package; loaded before anything else."""


def _forget_editable(config: pytest.Config) -> None:
    """Take back pytest's warning about the finder of an editable install, before anybody is told of it.

    pytest wants to rewrite the asserts of every file of a plugin's distribution, and says at the end of each run that
    this one was loaded early. It has no asserts. The warnings so far wait in the hook for plugins that come later.
    """
    waiting = getattr(config.hook.pytest_warning_recorded, "_call_history", None)
    if waiting:
        waiting[:] = [call for call in waiting if EDITABLE not in str(call[0]["warning_message"].message)]


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None]:
    """Name the right option where a word that nobody knows looks like one of ours."""
    _forget_editable(early_config)
    yield
    _, unknown = parser.parse_known_and_unknown_args(args)
    if (said := meant(unknown, ROWS.values())) is not None:
        raise pytest.UsageError(said)


def options_of(config: pytest.Config) -> Options:
    """All options as one frozen value; made once.

    Raises:
        ConfigError: a value is not what the option takes.
    """
    if OPTIONS not in config.stash:
        asked = given(_sources(config))
        targets = words(config.getoption("target", None))
        board = _board(config, asked.pop("board", None), targets)
        results = asked.pop("results", None) or Path(f"reports/out/{datetime.now():%Y%m%d-%H%M%S}")
        config.stash[OPTIONS] = Options(
            targets=targets,
            board=board,
            port=config.getoption("port", None),
            baud=int(config.getoption("baud", None) or 0) or None,
            results=Path(_of_controller(config, "hil_results") or results),
            build_dir=config.getoption("build_dir", None),
            app_path=config.getoption("app_path", None),
            skip_flash=_yes(config.getoption("skip_autoflash", None)),
            emulator_args=_emulator_args(config, board),
            **asked,
        )
    return config.stash[OPTIONS]


def _sources(config: pytest.Config) -> Sources:
    """Where our options are given."""
    rows = ROWS.values()
    return Sources(
        command_line={row.key: config.getoption(row.key, None) for row in rows},
        environ=os.environ,
        file={row.key: str(config.getini(row.key)) for row in rows},
        folder=config.inipath.parent if config.inipath else config.rootpath,
    )


def _yes(given: str | None) -> bool:
    """What pytest-embedded takes for yes."""
    return str(given or "").lower() in {"y", "yes", "true"}


def _board(config: pytest.Config, board: str | None, targets: tuple[str, ...]) -> str | None:
    """The board that was asked for; of an emulator with the program that pytest-embedded's own option names.

    `any` is looked up once: what workers have left out meanwhile must not change what the others collect.
    """
    if told := _of_controller(config, "hil_board"):
        return told
    if board == "any":
        from esp_hil.boards.pool import any_of

        found = any_of(targets)
        config.stash[LEFT_OUT] = [f"{name} ({why})" for name, why in found.left_out.items()]
        return ",".join(found.boards) or board
    own = {"qemu": "qemu_prog_path", "esp-emu": "espemu_prog_path"}
    program = config.getoption(own[board], None) if board in own else None
    return f"{board}:{program}" if program else board


def _emulator_args(config: pytest.Config, board: str | None) -> str | None:
    """Further options of the emulator, by pytest-embedded's options for it; None: none were given."""
    option = "espemu_extra_args" if (board or "").startswith("esp-emu") else "qemu_extra_args"
    extra: str | None = config.getoption(option, None)
    return extra


_ONLY_NAMED = ("micropython", "operators")
"""Suites that a plain `pytest --target CHIP` leaves out: boards under MicroPython have another firmware, and hundreds
of operators are a question of their own."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the suites out that must be named on the command line, unless they were."""
    name = collection_path.name
    if name not in _ONLY_NAMED or any(name in word for word in config.args):
        return None
    from esp_hil.session import suites

    ours = suites.folder()
    return True if ours is not None and collection_path.parent == ours else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses our fixtures once for each combination of target, model and recipe."""
    if "hil_combination" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("hil_kind")
    kind: Kind = mark.args[0] if mark is not None else "model"
    of = str(mark.kwargs.get("of", "")) if mark is not None else ""
    found = _combinations(metafunc.config, kind, of)
    ids = [combination.id for combination in found] or ["none"]
    # where only other kinds are asked for, nothing is left of these tests
    metafunc.parametrize(
        "hil_combination", found or (_none(metafunc.config, kind),), ids=ids, scope="session"
    )


def _combinations(config: pytest.Config, kind: Kind, of: str) -> tuple[Combination, ...]:
    """Those of a kind; the catalogue is asked once for all tests."""
    from esp_hil.session.options import combinations

    known = config.stash.setdefault(COMBINATIONS, {})
    if (kind, of) not in known:
        try:
            known[kind, of] = combinations(options_of(config), kind, of=of)
        except HilError as error:
            # the same for every test of the suites: it is said once, when all are collected
            config.stash.setdefault(PROBLEM, error)
            known[kind, of] = ()
    return known[kind, of]


def _none(config: pytest.Config, kind: Kind) -> object:
    """The parameter of a test that is about nothing: left out, or skipped where something could be given."""
    if kind != "benchmark" or PROBLEM in config.stash or options_of(config).models:
        return None
    why = "models of MLPerf Tiny are given by path: --hil-mlperf-tiny DIR"
    return pytest.param(None, marks=pytest.mark.skip(reason=why))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Finish one combination before the next, so that each board is prepared once for each model.

    Tests that are not ours stay in their places.
    """
    problem = config.stash.get(PROBLEM, None)
    if problem is not None:
        raise pytest.UsageError(str(problem))
    left = [item for item in items if _of_no_combination(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]

    places = [place for place, item in enumerate(items) if _combination(item) is not None]
    # stable: the files' own order stays within a combination
    ordered = sorted((items[place] for place in places), key=_sort_key)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


def _combination(item: pytest.Item) -> Combination | None:
    """The combination that a test runs on; None if it is not ours."""
    callspec = getattr(item, "callspec", None)
    found: Combination | None = callspec.params.get("hil_combination") if callspec else None
    return found


def _sort_key(item: pytest.Item) -> tuple[str, ...]:
    combination = _combination(item)
    return combination.sort_key if combination is not None else ()


def _of_no_combination(item: pytest.Item) -> bool:
    """Whether a test of the suites has no model to be about."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or callspec.params.get("hil_combination", item) is not None:
        return False
    return item.get_closest_marker("skip") is None


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
    # a process that controls workers does not collect: it opens its session when it knows what they found
    ours = any({"hil_combination", "hil_session"} & set(_fixtures(item)) for item in session.items)
    if ours and not config.option.collectonly:
        found = [combination for item in session.items if (combination := _combination(item)) is not None]
        _open_session(config, found)


def _open_session(config: pytest.Config, found: Iterable[Combination] = ()) -> None:
    from esp_hil.session.beforehand import check_options
    from esp_hil.session.session import Session, check_boards

    try:
        if not hasattr(config, "workerinput"):
            there = list(found)
            check_options(options_of(config), there)
            check_boards(options_of(config), there)
        config.stash[SESSION] = Session(
            options_of(config), _progress(config), session_id=_of_controller(config, "hil_session")
        )
    except HilError as error:
        raise pytest.UsageError(str(error)) from None


def _progress(config: pytest.Config) -> Progress:
    """Lines on the run's own standard error: a build of minutes is seen while it goes on, not when its test failed."""
    from esp_hil.progress import Lines, progress_on

    if config.option.capture == "no":
        return progress_on(sys.stderr)
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # a stream without a descriptor: somebody keeps it, and shows it
        return progress_on(sys.stderr)
    stream = os.fdopen(descriptor, "w", encoding=sys.stderr.encoding, errors="replace")
    config.add_cleanup(stream.close)
    return Lines(stream, before=lambda: _begin_line(config))


def _begin_line(config: pytest.Config) -> str:
    """What ends the line that pytest's terminal reporter has begun with a test's name or dots."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or not reporter.currentfspath:
        return ""
    reporter.currentfspath = None  # it then begins its next result with the name of the file
    return "\n"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Where the value of an option was taken for a folder of tests: begin anew with it at its option."""
    from esp_hil.session import mistaken_root, suites

    ours = any(config.getoption(row.key, None) is not None for row in ROWS.values())
    if not (ours or suites.of_a_folder_with_models(config)):
        return None
    command = mistaken_root.begun_anew(config)
    return None if command is None else pytest.main(command, config.invocation_params.plugins)


def pytest_configure(config: pytest.Config) -> None:
    """Find the suites; with pytest-xdist, name the session that all workers record for."""
    from esp_hil.session import suites

    config.addinivalue_line(
        "markers",
        "hil_kind(kind, of=''): what hil_combination is: model (without the mark), task, benchmark or operator",
    )
    try:
        suites.add_to(config, asked=read(ROWS["suites"], _sources(config)) is True)
    except HilError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - of pytest-xdist
    """Keep all tests of a board on one worker: they share what was measured. Other tests are dealt out as ever."""
    if config.getoption("dist") != "load" or not _controls_workers(config):
        return None
    from esp_hil.session.options import all_combinations
    from esp_hil.session.workers import Scheduling, groups_of

    try:
        found = all_combinations(options_of(config))
    except HilError:
        return None  # the workers say it, if any test is ours
    return Scheduling(config, log, groups_of(found), lambda: _open_session(config, found))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - of pytest-xdist, which may be absent
    """Tell a worker whose session its rows belong to."""
    node.workerinput.update(_told_to_workers(node.config))


def _told_to_workers(config: pytest.Config) -> dict[str, str]:
    """One session and one folder for all workers; nothing where the options are wrong, which each of them says."""
    if CONTROLLER not in config.stash and _controls_workers(config):
        try:
            options = options_of(config)
        except HilError:
            return {}
        config.stash[CONTROLLER] = {
            "hil_session": str(uuid.uuid4()),
            "hil_results": str(options.results),
            "hil_board": options.board or "",
        }
    return config.stash.get(CONTROLLER, {})


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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the recipe says the chip cannot hold."""
    combination = _combination(item)
    if combination is not None and combination.unsuited:
        pytest.skip(combination.unsuited)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let go of a board when the next test is on another one: runs that share boards must not block each other."""
    hil, combination = item.config.stash.get(SESSION, None), _combination(item)
    if hil is None or combination is None or nextitem is None:
        return
    following = _combination(nextitem)
    if following is None or (following.target, following.board) != (combination.target, combination.board):
        hil.leave(combination)


@pytest.fixture(scope="session")
def hil_session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """The session: opened boards, the recorder of rows. Closes the boards at the end."""
    session = request.config.stash[SESSION]
    yield session
    session.close()


@pytest.fixture(scope="session")
def hil_combination(request: pytest.FixtureRequest) -> Combination:
    """The model, recipe and target that a test runs on."""
    chosen: Combination = request.param
    return chosen


@pytest.fixture
def hil_board(
    hil_session: Session, hil_combination: Combination, request: pytest.FixtureRequest
) -> PreparedBoard:
    """The board with the model on it, for tests that talk to it themselves.

    Of each test anew: it costs nothing while the board is well, and one that broke in the test before is
    brought back.
    """
    with _uncaptured(request.config):
        return hil_session.prepared(hil_combination)


@pytest.fixture
def hil_console(request: pytest.FixtureRequest, hil_session: Session, hil_combination: Combination) -> Any:  # noqa: ANN401
    """pytest-embedded's `dut` on the port of the combination's board; skips without a service that reads it."""
    if not _reads_serial(request.config):
        pytest.skip("no dut: --embedded-services serial, or esp,idf with a chip")
    held = hil_session.open(hil_combination).board
    if held.url.startswith("socket://"):
        pytest.skip(f"{held.id} is behind a socket, which takes one connection: no dut beside the harness")
    return request.getfixturevalue("dut")


@pytest.fixture
def hil_frames(
    hil_session: Session,
    hil_combination: Combination,
    hil_console: Any,  # noqa: ANN401
) -> Callable[[], AbstractContextManager[PreparedBoard]]:
    """The harness has the port inside a `with` of what this gives; the reader of the `dut` pauses meanwhile."""
    return lambda: hil_session.frames(hil_combination, hil_console)


@pytest.fixture(scope="session")
def hil_measured(
    hil_session: Session, hil_combination: Combination, request: pytest.FixtureRequest
) -> Measured:
    """What one run over all golden inputs gave; made once for a combination, read by many tests."""
    with _uncaptured(request.config):
        return hil_session.measure(hil_combination)


@pytest.fixture(scope="session")
def hil_against(
    hil_session: Session, hil_combination: Combination, request: pytest.FixtureRequest
) -> Comparison:
    """What the baseline says of one run; skips without a baseline, or where it does not have the model."""
    if hil_session.baseline is None:
        pytest.skip(hil_session.not_compared or "no baseline: give one with --hil-baseline")
    with _uncaptured(request.config):
        found = hil_session.against(hil_combination)
    if found.added:
        pytest.skip(f"the baseline has no row of {found.added[0].summary}")
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
    hil, combination = item.config.stash.get(SESSION, None), _combination(item)
    if hil is not None and combination is not None:
        from esp_hil.session.checks import check_of

        if call.when == "setup" and call.excinfo is not None and isinstance(call.excinfo.value, HilError):
            hil.causes.fold(item, combination, call.excinfo.value, report)
        if call.excinfo is not None and isinstance(call.excinfo.value, RowsNotWritten):
            item.session.shouldfail = str(call.excinfo.value)
        if (check := check_of(item, call, report)) is not None:
            _keep(item, hil, combination, check, report)
    return report


def _keep(
    item: pytest.Item, hil: Session, combination: Combination, check: Check, report: pytest.TestReport
) -> None:
    """Put what a test said into its row; where that cannot be written, nothing more is tested."""
    try:
        hil.checked(combination, check)
    except HilError as error:
        report.outcome, report.longrepr = "failed", f"{type(error).__name__}: {error}"
        item.session.shouldfail = str(error)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Count a model that its chip cannot hold as a failure; pytest would say error, as of a broken board."""
    if report.when != "setup" or not report.failed:
        return None
    from esp_hil.session.checks import is_of_the_model

    return ("failed", "F", "FAILED") if is_of_the_model(report) else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports of what was recorded; workers leave that to the process that controls them."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    if _controls_workers(config) and SESSION not in config.stash and _workers_recorded(config):
        _open_session(config)
    hil = config.stash.get(SESSION, None)
    if hil is None:
        return
    if _controls_workers(config):
        hil.gather()
    hil.left_out = config.stash.get(LEFT_OUT, [])
    hil.publish(_stopped(session))
    if session.exitstatus == pytest.ExitCode.OK:
        # a wrong device is red even where only its latency was asked for
        unasked = hil.unasked()
        hil.published.troubles += unasked
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if unasked else hil.published.status


def _stopped(session: pytest.Session) -> str:
    """Why the session ended before all tests were run; "" if it did not."""
    why = session.shouldfail or session.shouldstop
    if not why and session.exitstatus == pytest.ExitCode.INTERRUPTED:
        why = "interrupted"
    return f"stopped before the end ({why}): what was not run is missing" if why else ""


def _workers_recorded(config: pytest.Config) -> bool:
    """Whether workers have made rows of this session, whoever dealt out the tests to them."""
    from esp_hil.results.journal import RUNS_FILE

    told = config.stash.get(CONTROLLER, {})
    path = Path(told["hil_results"]) / RUNS_FILE if told else None
    return path is not None and path.is_file() and told["hil_session"] in path.read_text(encoding="utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the short table and where the reports are."""
    hil = config.stash.get(SESSION, None)
    if hil is None or not hil.rows:
        return
    terminalreporter.section("esp-hil")
    for line in [*hil.summary(), *(f"left out: {one}" for one in hil.left_out)]:
        terminalreporter.write_line(line)
