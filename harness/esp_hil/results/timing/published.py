"""Latencies that others have published: facts with their sources, to set measured and predicted ones beside.

`published.csv` has one row a figure: the model alone, without pre- and postprocessing. Its MACs are counted
from the published device files, or from the layers of the architecture. A clock that a source does not state
is taken for the fastest of that chip (esp32p4: 400 MHz), so that a ratio of cycles errs to the careful side.

`settings` are those of the sources, where they are others than the examples' defaults: the components' figures
say PSRAM at 250 MHz; coco_detect, coco_pose and coco_seg leave parameters in flash where a board has less than
9 MB of PSRAM, and the ESP32-S3 of their tables has 8; the example of yolo26 for the ESP32-P4 does not ask for
-O2.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from esp_hil.targets import Runtime, target

ALIASES = {
    "mnist": "mnist_cnn",
    "gesture": "light_gesture_net",
    "kws": "mlperf_tiny_kws",
    "ic": "mlperf_tiny_ic",
    # rows of suites/mlperf_tiny
    "mlperf-tiny-ic": "mlperf_tiny_ic",
    "mlperf-tiny-kws": "mlperf_tiny_kws",
    "mlperf-tiny-vww": "mlperf_tiny_vww",
    # networks of tasks, as their rows are named
    "cat-espdet_224": "espdet_pico_224_cat",
    "cat-espdet_416": "espdet_pico_416_cat",
    "coco-yolo11n_320": "yolo11n_320",
    "coco-yolo11n_640": "yolo11n_640",
    "face_detect-mnp": "human_face_detect_mnp",
    "face_detect-msr": "human_face_detect_msr",
    "face_recognize-mbf": "human_face_feat_mbf",
    "face_recognize-mfn": "human_face_feat_mfn",
    "face_recognize-mnp": "human_face_detect_mnp",
    "face_recognize-msr": "human_face_detect_msr",
    "imagenet-mobilenetv2": "imagenet_mobilenetv2",
    "pedestrian-pico": "pedestrian_detect_pico",
}
"""Models of the catalogue that are published under another name."""


def changes_of(settings: str) -> dict[str, object]:
    """Settings in words (`weights=flash psram=hex250 cache=32 opt=Og clock=360`) as `setup_of` takes them."""
    found: dict[str, object] = {}
    for name, value in (word.split("=") for word in settings.split()):
        if name == "weights":
            found["param_copy"] = value != "flash"
        elif name == "cache":
            found["cache_bytes"] = int(value) * 1024
        elif name == "clock":
            found["clock_hz"] = int(value) * 1_000_000
        else:
            found["optimize" if name == "opt" else name] = value
    return found


SAME_MACS = 0.02
"""A model of that name with other MACs, by more than this share, is another model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLatency:
    """One published latency.

    Attributes:
        model: its name here.
        kernels: of TFLM: `esp-nn` or `portable`; "" for ESP-DL.
        version: of the runtime, as the source says.
        cores: that it used.
        macs: of one inference.
        settings: where they are known to be others than those of ESP-DL's examples, as `weights=flash opt=Og`.
        source: repository or page.
    """

    model: str
    target: str
    clock_mhz: int
    runtime: str
    kernels: str
    version: str
    cores: int
    latency_ms: float
    macs: int
    source: str
    settings: str = ""

    @property
    def changes(self) -> dict[str, object]:
        """Its settings as `esp_hil.results.timing.setup.setup_of` takes them."""
        return changes_of(self.settings)

    @property
    def cycles_per_mac(self) -> float:
        """Cycles of the chip for a multiply-accumulate, on average over the model."""
        return self.latency_ms * self.clock_mhz * 1e3 / self.macs

    @property
    def summary(self) -> str:
        """As `20 ms (ESP-DL 3.3.9, 1 core)`."""
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return f"{self.latency_ms:g} ms ({self.version}, {cores})"


@cache
def published() -> tuple[PublishedLatency, ...]:
    """All figures, in the order of the file."""
    text = resources.files("esp_hil.results.timing").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedLatency(
            model=row["model"],
            target=row["target"],
            clock_mhz=int(row["clock_mhz"]),
            runtime=row["runtime"],
            kernels=row["kernels"],
            version=row["version"],
            cores=int(row["cores"]),
            latency_ms=float(row["latency_ms"]),
            macs=int(row["macs"]),
            source=row["source"],
            settings=row["settings"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def published_of(model: str, chip: str, runtime: str, macs: int | None) -> tuple[PublishedLatency, ...]:
    """Figures of a model on a chip.

    Args:
        model: name in the catalogue, or of a device file of ESP-DL's zoo.
        chip: name of the target.
        runtime: espdl or tflm.
        macs: of the model; a figure of a model with other MACs is not of this model. None: unknown, so none.
    """
    if macs is None:
        return ()
    name = ALIASES.get(model, model)
    return tuple(
        row
        for row in published()
        if row.target == chip
        and row.runtime == runtime
        and (row.model == name or name.startswith(row.model))
        and abs(row.macs - macs) <= SAME_MACS * row.macs
    )


def spread_words(found: tuple[PublishedLatency, ...], latency_ms: float | None = None) -> str:
    """One clause: the published range, and where a measured latency lies in it; "" without figures."""
    if not found:
        return ""
    low, high = min(row.latency_ms for row in found), max(row.latency_ms for row in found)
    count = f"{len(found)} figure{'s' if len(found) != 1 else ''}"
    said = f"{low:g} ms ({count})" if low == high else f"{low:g} to {high:g} ms ({count})"
    if latency_ms is None:
        return said
    if latency_ms < low:
        return f"{said}; this run is {low / latency_ms:.2g} times as fast as the fastest"
    if latency_ms > high:
        return f"{said}; this run takes {latency_ms / high:.2g} times as long as the slowest"
    return f"{said}; this run is among them"


def group_of(runtime: Runtime | str, kernels: str, chip: str) -> str:
    """Figures of one group share the kernels that computed: ESP-DL's numeric family, or TFLM's on one chip."""
    return f"espdl {target(chip).family}" if runtime == "espdl" else f"tflm {kernels} {chip}"
