"""Rows as pandas tables: `load`, `layers`, `repetitions`, `checks`, `measures`, `compare`; one set of columns for all.

pandas is imported when a table is asked for. `COLUMNS` says of each column what it means, in which unit, of which
type and since which schema of the rows; docs/results.md is made from it, and results.parquet carries it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from esp_hil.energy.figures import Energy
from esp_hil.results.metrics import AGAINST, METRICS, counters_of, figure_of, latency_of, measure_column
from esp_hil.results.outcome import deciding, reason_of, status_of
from esp_hil.results.record import DeviceRow, Run
from esp_hil.results.rows import Source, rows_of
from esp_hil.results.text import clean
from esp_hil.results.validity import Validity, check
from esp_hil.verdict.measures import MEASURES

if TYPE_CHECKING:
    import pandas as pd

TIME: Final = "datetime64[us, UTC]"
Dtype = Literal["string", "Int64", "float64", "bool", "datetime64[us, UTC]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        name: ends in its unit where it has one.
        dtype: of pandas; Int64 and string may be missing.
        unit: "" for a plain number or a text.
        since: schema of the rows that first had it; older rows have nothing there.
        meaning: one phrase.
        of: the value of a run; None if it has none.
    """

    name: str
    dtype: Dtype
    meaning: str
    of: Callable[[Run], Any]
    unit: str = ""
    since: int = 2


def _text(name: str, meaning: str, of: Callable[[Run], str | None], since: int = 2) -> Column:
    return Column(name=name, dtype="string", meaning=meaning, of=of, since=since)


def _whole(
    name: str, meaning: str, of: Callable[[Run], int | None], unit: str = "", since: int = 2
) -> Column:
    return Column(name=name, dtype="Int64", meaning=meaning, of=of, unit=unit, since=since)


def _real(
    name: str, meaning: str, of: Callable[[Run], float | None], unit: str = "", since: int = 2
) -> Column:
    return Column(name=name, dtype="float64", meaning=meaning, of=of, unit=unit, since=since)


def _flag(name: str, meaning: str, of: Callable[[Run], bool]) -> Column:
    return Column(name=name, dtype="bool", meaning=meaning, of=of)


def _device(name: str) -> Callable[[Run], Any]:
    def of(run: Run) -> Any:  # noqa: ANN401 - a field of DeviceRow
        device: DeviceRow | None = run.device
        return None if device is None else getattr(device, name)

    return of


def _custody(name: str) -> Callable[[Run], str | None]:
    def of(run: Run) -> str | None:
        return getattr(run.custody, name) or None if run.custody else None

    return of


def _energy(of: Callable[[Energy], Any]) -> Callable[[Run], Any]:
    return lambda run: None if run.energy is None else of(run.energy)


def _size(run: Run) -> int | None:
    """What esp-idf-size calls the image's total; the parts together where a row has no total."""
    return run.sizes.get("total", sum(run.sizes.values())) if run.sizes else None


def _model_bytes(run: Run) -> int | None:
    """What the model file takes: predicted from the file, whatever board ran it."""
    found = run.predicted.get("model_flash_bytes") or run.counters.get("model_flash_bytes")
    return int(found[0]) if found else None


_ENERGY = (
    "energy_mj",
    "energy_whole_mj",
    "energy_idle_share_mj",
    "idle_mw",
    "active_mw",
    "active_ma",
    "peak_ma",
    "window_s",
    "inferences_per_wh",
)

_SINCE = (
    {name: 11 for name in _ENERGY}
    | {"leak_bytes": 3, "load_ms": 3, "pre_ms": 3, "post_ms": 3}
    | {measure_column(name, against): 8 for against in AGAINST for name in MEASURES}
)

COLUMNS: tuple[Column, ...] = (
    _text("run_id", "a UUID of the row", lambda run: run.run_id),
    _text("model", "name of the model's folder", lambda run: run.model),
    _text("recipe", "how it was quantized", lambda run: run.recipe),
    _text("runtime", "espdl or tflm", lambda run: run.runtime),
    _text("target", "chip", lambda run: run.target),
    _text("board", "id or URL of the board", lambda run: run.board),
    _text("host", "machine that the board's cable ends at", _custody("host"), 9),
    _text("cable", "USB path there", _custody("cable"), 9),
    _text("place", "of a farm", _custody("place"), 9),
    _text("lease", "a UUID: rows with the same one had the board without a break", _custody("lease"), 9),
    _text("kind", "what answered: silicon, emulated or virtual", lambda run: run.kind),
    _text(
        "figure",
        "where latency comes from: measured, predicted or simulated (memory of a virtual board always is)",
        figure_of,
    ),
    _text("status", "ok, worse (than the baseline), failed, wrong or broken", status_of),
    Column(
        name="started",
        dtype=TIME,
        meaning="when the run began",
        of=lambda run: run.started_utc,
    ),
    _text("session_id", "a UUID that all rows of one pytest session share", lambda run: run.session_id),
    _whole("attempt", "1, or more for a run that was made again", lambda run: run.attempt),
    _flag("passed", "whether nothing was red", lambda run: run.passed),
    _text("reason", "why it is not ok, the diagnosis first; else the verdict", reason_of),
    _text(
        "divergence", "where a wrong device first goes wrong, and why", lambda run: run.divergence or None, 3
    ),
    _text("verdict", "the verdict's sentence", lambda run: run.verdict.summary if run.verdict else None),
    _whole("checks", "tests of the suites that judged it", lambda run: len(run.checks), since=5),
    _whole(
        "checks_failed",
        "how many of them were red; `checks()` has each",
        lambda run: len(run.red_checks),
        since=5,
    ),
    _text("failure_class", "what kind of failure", lambda run: run.failure.kind if run.failure else None),
    _text("failure_step", "in which step", lambda run: run.failure.step if run.failure else None),
    _text("failure_message", "in one line", lambda run: run.failure.message if run.failure else None),
    _text("location", "where the model lay: partition, rodata, psram, ...", lambda run: run.location),
    _whole("cores_used", "cores that an inference might use", lambda run: run.cores_used),
    _whole("inputs", "golden inputs that were inferred for the verdict", lambda run: run.inputs),
    _whole("warmup", "inferences before the timed ones", lambda run: run.warmup),
    _whole("macs", "multiply-accumulates of an inference", lambda run: run.macs),
    _whole("model_bytes", "the model file in flash", _model_bytes, "bytes"),
    _whole("firmware_bytes", "the firmware; `size_...` has its parts by memory", _size, "bytes"),
    *(
        Column(
            name=metric.name,
            dtype="Int64" if metric.whole else "float64",
            meaning=metric.meaning,
            of=metric.of,
            unit=metric.unit,
            since=_SINCE.get(metric.name, 2),
        )
        for metric in METRICS
    ),
    _text(
        "meter",
        "what saw the board's current; simulated: nothing was measured",
        _energy(lambda e: e.meter),
        11,
    ),
    _text("meter_serial", "of that piece", _energy(lambda e: e.serial or None), 11),
    _real("meter_hz", "samples of the meter", _energy(lambda e: e.sample_hz), "1/s", 11),
    _text("meter_calibration", "where its scale comes from", _energy(lambda e: e.calibration or None), 11),
    _real("supply_v", "mean voltage at the board", _energy(lambda e: e.voltage_v), "V", 11),
    _text("supply_from", "measured, supplied by the meter, or told", _energy(lambda e: e.voltage_from), 11),
    _text("energy_edges", "how windows were found: gate or marker", _energy(lambda e: e.edges), 11),
    _whole("energy_windows", "windows that were measured", _energy(lambda e: len(e.windows)), since=11),
    _text("energy_state", "of the board between the windows", _energy(lambda e: e.state or None), 11),
    _text(
        "energy_codes", "why there is no figure of energy", _energy(lambda e: " ".join(e.codes) or None), 11
    ),
    _real(
        "temperature_c",
        "of the chip behind the windows, if it tells",
        _energy(lambda e: e.temperature_c),
        "°C",
        11,
    ),
    _text("chip", "as the device names itself", _device("chip")),
    _whole("revision", "of the chip: 100 * major + minor", _device("revision")),
    _whole("cores", "of the chip", _device("cores")),
    _whole("clock_hz", "of the CPU during the run", _device("clock_hz"), "Hz"),
    _whole("flash_bytes", "flash of the board", _device("flash_bytes"), "bytes"),
    _whole("psram_bytes", "PSRAM of the board", _device("psram_bytes"), "bytes"),
    _text("idf", "ESP-IDF's version", _device("idf")),
    _text("engine", "the runtime in the firmware", _device("engine")),
    _text("engine_version", "its version", _device("engine_version")),
    _whole("protocol", "version of the protocol", _device("protocol")),
    _text("sdkconfig_sha256", "of the firmware's configuration", _device("sdkconfig_sha256")),
    _text("image_sha256", "of the firmware", _device("image_sha256")),
    _text("mac", "of the board, if it has one", _device("mac")),
    _text("harness", "version of esp-hil that made the row", lambda run: run.provenance.harness),
    _text("git_sha", "commit of the working copy", lambda run: run.provenance.git_sha),
    _flag("dirty", "whether the working copy had changes", lambda run: run.provenance.dirty),
    _text("machine", "the host, without its name", lambda run: run.provenance.machine or None),
    _text("model_sha256", "of the model file", lambda run: run.provenance.model_sha256),
    _text("golden_sha256", "of the golden inputs", lambda run: run.provenance.golden_sha256),
)
"""The columns of `load`, in their order; `validity`, `validity_codes`, the firmware's sizes by memory and the device's
counters follow."""

_NAMES = frozenset(column.name for column in COLUMNS)


def frame(
    runs: Sequence[Run],
    validities: Sequence[Validity] | None = None,
) -> pd.DataFrame:
    """The table of the runs, one row each, in their order; always the columns of COLUMNS.

    The bytes of the firmware in each memory of its chip (`size_flash_code`, `size_diram`, ...) follow, then the
    counters of the device, which firmware is free to add, each in the order of names: bytes and counts are Int64,
    others float64.

    Args:
        runs: the rows.
        validities: what `esp_hil.results.validity.check` says of each, if that is known already.
    """
    import pandas as pd

    validities = [check(run) for run in runs] if validities is None else validities
    # column by column would ask for the statistics of each run again and again
    values: list[list[Any]] = [[column.of(run) for column in COLUMNS] for run in runs]
    columns = {
        column.name: _series([row[place] for row in values], column.dtype)
        for place, column in enumerate(COLUMNS)
    }
    columns["validity"] = _series([validity.summary for validity in validities], "string")
    columns["validity_codes"] = _series([" ".join(validity.codes) for validity in validities], "string")
    columns |= _sizes(runs)
    columns |= _counters(runs)
    return pd.DataFrame(columns)


def _sizes(runs: Sequence[Run]) -> dict[str, pd.Series]:
    names = sorted({name for run in runs for name in run.sizes})
    return {f"size_{clean(name)}": _series([run.sizes.get(name) for run in runs], "Int64") for name in names}


def _counters(runs: Sequence[Run]) -> dict[str, pd.Series]:
    found = [counters_of(run) for run in runs]
    made: dict[str, pd.Series] = {}
    for name in sorted({name for row in found for name in row}):
        cells = [row.get(name) for row in found]
        whole = all(value is None or float(value).is_integer() for value in cells)
        column = clean(name)
        column = f"counter_{column}" if column in _NAMES or column in made else column
        made[column] = _series(cells, "Int64" if whole else "float64")
    return made


def _series(values: Sequence[Any], dtype: str) -> pd.Series:
    import pandas as pd

    if dtype == "string":
        return pd.Series([clean(v) if isinstance(v, str) else None for v in values], dtype="string")
    if dtype == TIME:
        stamps = pd.to_datetime(
            pd.Series(values, dtype="string"), utc=True, errors="coerce", format="ISO8601"
        )
        return stamps.dt.as_unit("us")
    return pd.Series(values, dtype=dtype)


def load(source: Source) -> pd.DataFrame:
    """The rows of a results folder, a file of rows, or a history, as a table with the columns of `COLUMNS`.

    Args:
        source: folder of --hil-results, .jsonl file, history (SQLite file, or URL), or the rows themselves.

    Raises:
        ReportError: it cannot be read.
    """
    return frame(rows_of(source))


_KEYS: Mapping[str, Callable[[Run], str | int]] = {
    "run_id": lambda run: run.run_id,
    "model": lambda run: run.model,
    "recipe": lambda run: run.recipe,
    "runtime": lambda run: run.runtime,
    "target": lambda run: run.target,
    "board": lambda run: run.board,
    "kind": lambda run: run.kind,
    "figure": figure_of,
    "attempt": lambda run: run.attempt,
}


def _long(rows: Sequence[tuple[Run, Mapping[str, Any]]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """A table with the run's keys first, then the columns of `dtypes`."""
    import pandas as pd

    columns = {
        name: _series([of(run) for run, _ in rows], "Int64" if name == "attempt" else "string")
        for name, of in _KEYS.items()
    }
    columns |= {
        name: _series([cells.get(name) for _, cells in rows], dtype) for name, dtype in dtypes.items()
    }
    return pd.DataFrame(columns)


def _ms(run: Run, cycles: float) -> float | None:
    return 1e3 * cycles / run.device.clock_hz if run.device is not None and run.kind != "emulated" else None


def layers(source: Source) -> pd.DataFrame:
    """One row for each layer of each profiled run, in the order of the graph.

    Columns besides those that name the run: layer (its number), name, operator, median_cycles, ms, share_pct (of
    the sum over the layers), macs, parameter_bytes, activation_bytes, bits.
    """
    rows: list[tuple[Run, Mapping[str, Any]]] = []
    for run in rows_of(source):
        medians = [
            sorted(layer.cycles)[len(layer.cycles) // 2] if layer.cycles else 0 for layer in run.layers or ()
        ]
        total = sum(medians) or 1
        for number, (layer, cycles) in enumerate(zip(run.layers or (), medians, strict=True)):
            cells = {
                "layer": number,
                "name": layer.name,
                "operator": layer.operator,
                "median_cycles": cycles,
                "ms": _ms(run, cycles),
                "share_pct": 100 * cycles / total,
                "macs": layer.macs,
                "parameter_bytes": layer.parameter_bytes,
                "activation_bytes": layer.activation_bytes,
                "bits": layer.bits,
            }
            rows.append((run, cells))
    whole = ("layer", "median_cycles", "macs", "parameter_bytes", "activation_bytes", "bits")
    order = (
        "layer",
        "name",
        "operator",
        "median_cycles",
        "ms",
        "share_pct",
        "macs",
        "parameter_bytes",
        "activation_bytes",
        "bits",
    )
    texts = ("name", "operator")
    dtypes = {name: "Int64" if name in whole else "string" if name in texts else "float64" for name in order}
    return _long(rows, dtypes)


def repetitions(source: Source) -> pd.DataFrame:
    """One row for each timed inference: repetition (from 0), cycles, ms."""
    rows: list[tuple[Run, Mapping[str, Any]]] = [
        (run, {"repetition": number, "cycles": cycles, "ms": _ms(run, cycles)})
        for run in rows_of(source)
        if latency_of(run) is not None
        for number, cycles in enumerate(run.cycles)
    ]
    return _long(rows, {"repetition": "Int64", "cycles": "Int64", "ms": "float64"})


def checks(source: Source) -> pd.DataFrame:
    """One row for each test of the suites and run: suite, check, outcome, message, seconds."""
    rows: list[tuple[Run, Mapping[str, Any]]] = [
        (
            run,
            {
                "suite": one.suite,
                "check": one.name,
                "outcome": one.outcome,
                "message": one.message,
                "seconds": one.seconds,
            },
        )
        for run in rows_of(source)
        for one in run.checks
    ]
    texts = dict.fromkeys(("suite", "check", "outcome", "message"), "string")
    return _long(rows, texts | {"seconds": "float64"})


def measures(source: Source) -> pd.DataFrame:
    """One row for each figure of each output: how good answers are by what the output means.

    Columns besides those that name the run: output, meaning, source (device, exact, quantized, float), against (float,
    expected, exact), measure, value (shares are 0..1), unit, count (what it is taken over), limit (of its gate), ok.
    """
    rows: list[tuple[Run, Mapping[str, Any]]] = [
        (
            run,
            {
                "output": one.output,
                "meaning": one.meaning,
                "source": one.source,
                "against": one.against,
                "measure": one.name,
                "value": one.value,
                "unit": one.unit,
                "count": one.count,
                "limit": one.limit,
                "ok": one.ok,
            },
        )
        for run in rows_of(source)
        if run.verdict is not None
        for one in run.verdict.measures
    ]
    texts = dict.fromkeys(("output", "meaning", "source", "against", "measure"), "string")
    rest = {"value": "float64", "unit": "string", "count": "Int64", "limit": "float64", "ok": "bool"}
    return _long(rows, texts | rest)


def compare(base: Source, new: Source, *, gate_simulated: bool = False) -> pd.DataFrame:
    """What changed from `base` to `new`: one row for each figure of each combination, the worst first.

    Columns: model, recipe, runtime, target, board, metric, unit, base, new, change_pct, low_pct and high_pct (the
    95 % interval of the change, where there are repetitions), probability, judgement (worse, unconfirmed, better,
    same; "not compared" with the reason), reason.

    Raises:
        ReportError: one of them cannot be read.
    """
    import pandas as pd

    from esp_hil.results.regress import Rules
    from esp_hil.results.regress import compare as compared
    from esp_hil.results.regress.change import worst_first

    counted = rows_of(new)
    fresh = [run for run, counts in zip(counted, deciding(counted), strict=True) if counts or run.attempt > 1]
    found = compared(rows_of(base), fresh, Rules(gate_simulated=gate_simulated))

    def pct(ratio: float | None) -> float | None:
        return None if ratio is None else 100 * (ratio - 1)

    lines: list[dict[str, Any]] = [
        {
            **_identity(change.identity, change.board),
            "metric": change.metric,
            "unit": change.unit,
            "base": change.base,
            "new": change.new,
            "change_pct": None if change.share is None else 100 * change.share,
            "low_pct": pct(change.low),
            "high_pct": pct(change.high),
            "probability": change.probability,
            "judgement": change.judgement,
            "reason": "; ".join((*change.culprits, *change.causes)),
        }
        for change in worst_first(found.changes)
    ]
    for refusal in found.refusals:
        lines += [
            {
                **_identity(refusal.identity, refusal.board),
                "metric": group,
                "judgement": "not compared",
                "reason": refusal.summary,
            }
            for group in refusal.groups
        ]
    numbers = ("base", "new", "change_pct", "low_pct", "high_pct", "probability")
    order = (
        "model",
        "recipe",
        "runtime",
        "target",
        "board",
        "metric",
        "unit",
        *numbers,
        "judgement",
        "reason",
    )
    return pd.DataFrame(
        {
            name: _series([line.get(name) for line in lines], "float64" if name in numbers else "string")
            for name in order
        }
    )


def _identity(identity: Any, board: str) -> dict[str, str]:  # noqa: ANN401 - regress imports this layer lazily
    names = ("model", "recipe", "runtime", "target")
    return {name: str(getattr(identity, name)) for name in names} | {"board": board}


def documentation() -> str:
    """The columns of `load` as a Markdown table: name, type, unit, since which schema, meaning."""
    lines = ["| column | type | unit | since | what it says |", "|---|---|---|---|---|"]
    lines += [
        f"| `{column.name}` | {column.dtype} | {column.unit} | {column.since} | {column.meaning} |"
        for column in COLUMNS
    ]
    more = (
        ("validity", "the rules of measuring that the run breaks, in words"),
        ("validity_codes", "the same as codes"),
    )
    lines += [f"| `{name}` | string |  | 2 | {meaning} |" for name, meaning in more]
    lines.append(
        "| `size_total`, `size_flash_code`, ... | Int64 | bytes | 2 | the firmware in each memory of its chip, as "
        "esp-idf-size names them |"
    )
    return "\n".join(lines) + "\n"
