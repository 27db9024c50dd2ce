"""A Joulescope (JS110, JS220) through its maker's driver, `pyjoulescope_driver` of PyPI, extra `energy`.

The driver publishes blocks of samples under topics of the device: current `s/i`, voltage `s/v`, inputs `s/gpi/N`, each
with the number of its first sample (before decimation). Source: its documentation, joulescope-driver.readthedocs.io.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from esp_hil.energy.meter import MeterInfo, PowerTrace
from esp_hil.errors import MeterError

SAMPLE_HZ = 100_000.0
RANGES_A = {"js220": 3.0, "js110": 2.0}
"""Largest current that they measure for long."""

FLUSH_S = 0.3

Block = Mapping[str, Any]


class JoulescopeDriver(Protocol):
    """What is used of `pyjoulescope_driver.Driver`."""

    def device_paths(self, timeout: float | None = None) -> list[str]:
        """Devices, as `u/js220/000123`."""
        ...

    def open(self, device_prefix: str, mode: str | None = None, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Open one."""
        ...

    def close(self, device_prefix: str, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Close it."""
        ...

    def publish(self, topic: str, value: Any, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Set something."""
        ...

    def subscribe(
        self,
        topic: str,
        flags: Any,  # noqa: ANN401
        fn: Callable[[str, Any], None],
        timeout: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Have `fn` called with each block, in a thread of the driver."""
        ...

    def unsubscribe(self, topic: str, fn: Callable[[str, Any], None], timeout: float | None = None) -> Any:  # noqa: ANN401
        """End that."""
        ...


def load_driver() -> JoulescopeDriver:
    """The maker's driver.

    Raises:
        MeterError: it is not installed.
    """
    try:
        from pyjoulescope_driver import Driver
    except ImportError:
        raise MeterError(
            "pyjoulescope-driver is not installed", hint="pip install 'esp-hil[energy]'"
        ) from None
    driver: JoulescopeDriver = Driver()
    return driver


def find_device(driver: JoulescopeDriver, serial: str) -> str:
    """Path of the device of that serial number; of the only one, if that is "".

    Raises:
        MeterError: there is none, or several and none was named.
    """
    with _asking("Joulescope"):
        paths = driver.device_paths()
    named = [path for path in paths if path.rpartition("/")[2].lstrip("0") == serial.lstrip("0")]
    found = named if serial else paths
    if len(found) == 1:
        return found[0]
    there = ", ".join(paths) or "none"
    what = f"no Joulescope {serial}" if serial else f"{len(paths)} Joulescopes"
    raise MeterError(f"{what}; attached: {there}", hint="joulescope:SERIAL names one")


@contextlib.contextmanager
def _asking(path: str) -> Iterator[None]:
    """Whatever the maker's driver raises is the meter's trouble."""
    try:
        yield
    except Exception as error:
        raise MeterError(
            f"{path}: {error}", hint="is it still plugged in, or used by another program?"
        ) from error


class Joulescope:
    """A Joulescope in the board's supply; it measures current and voltage.

    Args:
        driver: of its maker.
        path: of the device.
        gate_channel: which of its general-purpose inputs the gate is wired to; None: none.
        sample_hz: what it is to send; it samples faster and takes means.
        sleep: to let the last blocks come.
    """

    def __init__(
        self,
        driver: JoulescopeDriver,
        path: str,
        *,
        gate_channel: int | None = 0,
        sample_hz: float = SAMPLE_HZ,
        sleep: Callable[[float], None],
    ) -> None:
        self._driver, self._path, self._sleep = driver, path, sleep
        self._gate = None if gate_channel is None else f"s/gpi/{gate_channel}"
        self._signals = ["s/i", "s/v", *([self._gate] if self._gate else [])]
        self._blocks: dict[str, list[Block]] = {}
        self._lock = threading.Lock()
        model, _, serial = path.removeprefix("u/").partition("/")
        self._open = True
        try:
            with _asking(path):
                driver.open(path, "defaults")
                driver.publish(f"{path}/s/i/range/mode", "auto")
                driver.publish(f"{path}/h/fs", round(sample_hz))
        except MeterError:
            self.close()
            raise
        self._info = MeterInfo(
            kind="joulescope",
            serial=f"{model} {serial}".strip(),
            sample_hz=sample_hz,
            range_a=RANGES_A.get(model.lower(), 2.0),
            calibration="of the maker, stored in the meter",
            has_gate=gate_channel is not None,
            measures_voltage=True,
        )

    @property
    def info(self) -> MeterInfo:
        """What it is."""
        return self._info

    @property
    def received(self) -> int:
        """Samples since `start`."""
        with self._lock:
            return sum(len(block["data"]) for block in self._blocks.get("s/i", []))

    def start(self) -> None:
        """Begin anew."""
        with self._lock:
            self._blocks = {signal: [] for signal in self._signals}
        with _asking(self._path):
            for signal in self._signals:
                self._driver.subscribe(f"{self._path}/{signal}/!data", ["pub"], self._on_block)
            for signal in self._signals:
                self._driver.publish(f"{self._path}/{signal}/ctrl", 1)

    def _on_block(self, topic: str, value: Block) -> None:
        signal = topic.removeprefix(f"{self._path}/").removesuffix("/!data")
        with self._lock:
            self._blocks.setdefault(signal, []).append(value)

    def pump(self) -> None:
        """The driver has a thread of its own."""
        self._sleep(0.05)

    def stop(self) -> PowerTrace:
        """End sampling; everything since `start`, from the first sample on that all signals have."""
        self._sleep(FLUSH_S)
        with _asking(self._path):
            for signal in self._signals:
                self._driver.publish(f"{self._path}/{signal}/ctrl", 0)
                self._driver.unsubscribe(f"{self._path}/{signal}/!data", self._on_block)
        with self._lock:
            blocks = self._blocks
        spans = [_span(blocks.get(signal, []), signal) for signal in self._signals]
        if any(span is None for span in spans):
            nothing = np.zeros(0)
            return PowerTrace.regular(nothing, sample_hz=self._info.sample_hz, voltage_v=nothing)
        first = max(span[0] for span in spans if span)
        end = min(span[1] for span in spans if span)
        rate_hz = _rate_of(blocks["s/i"][0])
        current = _joined(blocks["s/i"], first, end)
        gate = None
        if self._gate:
            level = _joined(blocks[self._gate], first, end, bits=True)
            current[np.isnan(level)] = np.nan
            gate = np.nan_to_num(level) > 0.5
        voltage = _joined(blocks["s/v"], first, end)
        current[np.isnan(voltage)] = np.nan
        return PowerTrace.regular(current, sample_hz=rate_hz, voltage_v=voltage, gate=gate)

    def close(self) -> None:
        """Let go of it."""
        if self._open:
            self._open = False
            with contextlib.suppress(Exception):
                self._driver.close(self._path)
            with contextlib.suppress(Exception):
                getattr(self._driver, "finalize", lambda: None)()


def _rate_of(block: Block) -> float:
    return float(block["sample_rate"]) / int(block["decimate_factor"])


def _values(block: Block, bits: bool) -> NDArray[Any]:
    data = np.asarray(block["data"])
    return np.unpackbits(data.view(np.uint8), bitorder="little") if bits else data


def _span(blocks: list[Block], signal: str) -> tuple[int, int] | None:
    """Numbers of the first sample and of the one behind the last."""
    if not blocks:
        return None
    first, last = blocks[0], blocks[-1]
    begin, end = (int(block["sample_id"]) // int(block["decimate_factor"]) for block in (first, last))
    return begin, end + len(_values(last, "gpi" in signal))


def _joined(blocks: list[Block], first: int, end: int, *, bits: bool = False) -> NDArray[np.float64]:
    """Samples by their number; NaN where none came."""
    joined = np.full(max(0, end - first), np.nan)
    for block in blocks:
        values = _values(block, bits)
        begin = int(block["sample_id"]) // int(block["decimate_factor"]) - first
        low, high = max(0, begin), min(len(joined), begin + len(values))
        if low < high:
            joined[low:high] = values[low - begin : high - begin]
    return joined
