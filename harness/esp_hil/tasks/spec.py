"""golden/<task>/task.toml, parsed strictly.

`[espdl."3.1"]` lays what is otherwise in ESP-DL 3.1 over the rest of the file: other weights, thresholds, ways to
resize. The longest key that a version begins with counts, part by part; the file itself is the newest ESP-DL.

A task has several networks that come from elsewhere, no float model, no recipes and no committed inputs, but
decoding, thresholds on results and pictures that a script makes. It therefore has a file of its own instead of a
model.toml with most keys empty. Its networks are models of the catalogue (`tasks/as_models`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from esp_hil.targets import Family
from esp_hil.tasks.decode import Stage
from esp_hil.tasks.preprocess import Channels, Preprocessing, Resize
from esp_hil.toml_table import TomlTable

Kind = Literal["two_stage_faces", "detection", "classification", "recognition"]
Decoder = Literal["espdet", "yolo11", "pico"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """A network of a task.

    Attributes:
        name: within the task.
        file: name of its .espdl file.
        preprocessing: picture to input.
        sha256: digest of the file by numeric family.
        macs: multiply-accumulates of one inference.
    """

    name: str
    file: str
    preprocessing: Preprocessing
    sha256: Mapping[Family, str]
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """Outputs to boxes or classes.

    Attributes:
        stages: of a detector.
        decoder: of a one-stage detector.
        score: least score of a box.
        nms: largest overlap of two boxes that both stay.
        top: so many boxes or classes at most.
    """

    stages: tuple[Stage, ...] = ()
    decoder: Decoder | None = None
    score: float = 0.0
    nms: float = 1.0
    top: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTolerances:
    """How far results may differ, and when a face is known.

    Attributes:
        iou: least intersection over union of two boxes of one object.
        landmark_px: largest distance of two landmarks in pixels.
        score: largest difference of two scores.
        cosine: least similarity of two embeddings of one face in one picture.
        same_person: least similarity of an embedding and the one enrolled.
    """

    iou: float
    landmark_px: float
    score: float
    cosine: float
    same_person: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFrameRate:
    """A published frame rate of the MicroPython binding: the whole task, for a frame size, on one chip."""

    target: str
    frame: str
    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """What task.toml says.

    Attributes:
        name: of the folder.
        title: for people.
        source: where the networks come from.
        component: of the ESP component registry, with its version.
        binding_class: the class of the MicroPython binding that does the same.
        kind: how networks and decoding work together.
        networks: by name, in the order they run; of a task that needs one, those that may be chosen.
        detector: of a recognition task, the task that finds faces; else "".
        decode: outputs to boxes or classes.
        labels: names of the classes.
        thresholds: how far results may differ.
        golden: picture -> names of all that is to be found in it, or its class.
        published: frame rates of the binding.
        espdl: the versions of ESP-DL that this is for, such as `3.1`; "": the newest.
        older: the same task in older versions of ESP-DL, by what the version begins with.
    """

    name: str
    title: str
    source: str
    component: str
    binding_class: str
    kind: Kind
    networks: Mapping[str, NetworkSpec]
    detector: str
    decode: Decode
    labels: tuple[str, ...]
    thresholds: TaskTolerances
    golden: Mapping[str, tuple[str, ...]]
    published: tuple[PublishedFrameRate, ...]
    espdl: str = ""
    older: Mapping[str, TaskSpec] = field(default_factory=dict)

    def of_espdl(self, version: str) -> TaskSpec:
        """The task as a version of ESP-DL has it.

        Args:
            version: such as `3.1.5`; "": the newest.
        """
        parts = version.split(".")
        for count in range(len(parts), 0, -1):
            if (found := self.older.get(".".join(parts[:count]))) is not None:
                return found
        return self


def parse(path: Path) -> TaskSpec:
    """Read a task.toml.

    Raises:
        ConfigError: no TOML, or a key that is unknown, missing or of the wrong type or value.
    """
    top = TomlTable.of_file(path)
    overlays = top.optional("espdl")
    base = {key: value for key, value in top.values.items() if key != "espdl"}
    older = {}
    for version in overlays.names():
        overlay = overlays.table(version)
        laid = TomlTable(path, overlay.where, _over(base, overlay.values))
        older[version] = replace(_task(path, laid), espdl=version)
    return replace(_task(path, TomlTable(path, "", base)), older=MappingProxyType(older))


def _over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over tables, key by key; the given ones stay as they are."""
    made = {key: _over(value, {}) if isinstance(value, dict) else value for key, value in under.items()}
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = _over(made[key], value) if both else value
    return made


def _task(path: Path, top: TomlTable) -> TaskSpec:
    kind: Kind = top.choice("kind", Kind)
    networks = top.table("network")
    spec = TaskSpec(
        name=path.parent.name,
        title=top.take("title", str),
        source=top.take("source", str),
        component=top.take("component", str),
        binding_class=top.take("binding_class", str),
        kind=kind,
        networks=MappingProxyType({name: _network(name, networks) for name in list(networks.values)}),
        detector=top.take("detector", str, ""),
        decode=_decode(kind, top),
        labels=_labels(top),
        thresholds=_thresholds(top.table("thresholds")),
        golden=_golden(top.table("golden")),
        published=_published(top.optional("published_fps")),
    )
    top.done()
    _check(top, spec)
    return spec


def _check(top: TomlTable, spec: TaskSpec) -> None:
    needed = {"two_stage_faces": 2}.get(spec.kind, 1)
    if len(spec.networks) < needed:
        raise top.fail("network", f"has {len(spec.networks)} networks", f"a {spec.kind} task needs {needed}")
    if (spec.kind == "recognition") != bool(spec.detector):
        raise top.fail(
            "detector", f"is {spec.detector!r}", "a recognition task names the one that finds faces"
        )


def _network(name: str, tables: TomlTable) -> NetworkSpec:
    table = tables.table(name)
    letterbox = table.many("letterbox", int, [])
    channels: Channels = table.choice("channels", Channels, "rgb")
    resize: Resize = table.choice("resize", Resize, "nearest")
    digests = table.table("sha256")
    spec = NetworkSpec(
        name=name,
        file=table.file("file"),
        preprocessing=Preprocessing(
            mean=_three(table, "mean"),
            std=_three(table, "std"),
            channels=channels,
            resize=resize,
            letterbox=(letterbox[0], letterbox[1], letterbox[2]) if len(letterbox) == 3 else None,
        ),
        sha256=MappingProxyType({_family(digests, key): digests.take(key, str) for key in digests.values}),
        macs=table.count("macs"),
    )
    if letterbox and len(letterbox) != 3:
        raise table.fail("letterbox", f"is {list(letterbox)}", "an RGB value")
    if min(spec.preprocessing.std) <= 0:
        raise table.fail("std", "must be positive")
    for key, digest in digests.values.items():
        if len(digest) != 64:
            raise digests.fail(key, f"is {digest!r}", "a SHA-256 of 64 digits")
    digests.done()
    table.done()
    return spec


def _three(table: TomlTable, key: str) -> tuple[float, float, float]:
    values = [float(value) for value in table.take(key, list) if type(value) in {int, float}]
    if len(values) != 3:
        raise table.fail(key, f"is {table.values[key]!r}", "three numbers")
    return values[0], values[1], values[2]


def _family(table: TomlTable, key: str) -> Family:
    families: dict[str, Family] = {name: name for name in get_args(Family)}
    if key not in families:
        raise table.fail(key, "is not a numeric family", f"one of: {', '.join(families)}")
    return families[key]


def _decode(kind: Kind, top: TomlTable) -> Decode:
    if kind == "recognition":
        return Decode()
    table = top.table("decode")
    if kind == "classification":
        decode = Decode(top=table.count("top"))
        table.done()
        return decode
    decode = Decode(
        decoder=table.choice("decoder", Decoder) if kind == "detection" else None,
        stages=tuple(_stage(table, index, row) for index, row in enumerate(table.take("stages", list))),
        score=table.share("score"),
        nms=table.share("nms"),
        top=table.count("top"),
    )
    table.done()
    return decode


def _stage(table: TomlTable, index: int, row: object) -> Stage:
    inner = TomlTable(table.path, f"{table.where}.stages[{index}]", row)
    stage = Stage(
        score=inner.take("score", str),
        box=inner.take("box", str),
        stride=inner.count("stride"),
        offset=inner.count("offset", least=0),
        anchors=inner.many("anchors", int, []),
    )
    inner.done()
    return stage


def _labels(top: TomlTable) -> tuple[str, ...]:
    """The names in the file that `labels` names, one a line; () without."""
    name = top.file("labels", "")
    if not name:
        return ()
    try:
        lines = (top.path.parent / name).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise top.fail("labels", f"cannot be read: {error.strerror}") from None
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _thresholds(table: TomlTable) -> TaskTolerances:
    thresholds = TaskTolerances(
        iou=table.share("iou"),
        landmark_px=table.take("landmark_px", float, 0.0),
        score=table.share("score"),
        cosine=table.take("cosine", float, 1.0),
        same_person=table.take("same_person", float, 1.0),
    )
    table.done()
    return thresholds


def _golden(table: TomlTable) -> Mapping[str, tuple[str, ...]]:
    golden = {name: table.many(name, str) for name in table.values}
    if not golden:
        raise table.fail("", "is empty", "name at least one picture")
    return MappingProxyType(golden)


def _published(table: TomlTable) -> tuple[PublishedFrameRate, ...]:
    rows: list[PublishedFrameRate] = []
    for chip in list(table.values):
        frames = table.table(chip)
        for frame in frames.values:
            width, height = FRAMES.get(frame, (0, 0))
            if not width:
                raise frames.fail(frame, "is not a frame size", f"one of: {', '.join(FRAMES)}")
            fps = frames.take(frame, float)
            rows.append(PublishedFrameRate(target=chip, frame=frame, width=width, height=height, fps=fps))
    return tuple(rows)


FRAMES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "QQVGA": (160, 120),
        "R128x128": (128, 128),
        "QCIF": (176, 144),
        "HQVGA": (240, 176),
        "R240X240": (240, 240),
        "QVGA": (320, 240),
        "CIF": (400, 296),
        "HVGA": (480, 320),
        "VGA": (640, 480),
        "SVGA": (800, 600),
        "XGA": (1024, 768),
        "HD": (1280, 720),
    }
)
"""Frame sizes as esp32-camera names them: (width, height) in pixels."""
