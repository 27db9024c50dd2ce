"""`hil plan`: the memory that a model takes on a chip, before anything is built."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esp_hil.commands import add_model, require
from esp_hil.errors import ConfigError, cannot_write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from esp_hil.formats.espdl import EspdlModel
    from esp_hil.formats.espdl.memory import MemoryPlan
    from esp_hil.models.arena import Arena
    from esp_hil.models.blocks import Room
    from esp_hil.models.device_file import DeviceFile
    from esp_hil.report.memory_map import MemoryBox
    from esp_hil.targets import Target

HELP = "show the memory a model takes on a chip"
EXAMPLES = """
  hil plan mnist --target esp32s3
  hil plan my.espdl --target esp32s3 --no-psram        does it fit beside the firmware?
  hil plan my.espdl --target esp32s3 --svg memory.svg  what lies where, over the nodes' time
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil plan`."""
    add_model(parser, optional=True)
    parser.add_argument("--target", help="the chip: esp32, esp32s3, esp32p4 ...")
    parser.add_argument("--name", help="which model of a pack")
    parser.add_argument(
        "--max-internal",
        type=int,
        default=0,
        metavar="BYTES",
        help="internal RAM for values on a board with PSRAM (max_internal_size of dl::Model; default 0)",
    )
    parser.add_argument("--no-psram", action="store_true", help="the board has no PSRAM")
    parser.add_argument("--no-param-copy", action="store_true", help="leave parameters in flash")
    parser.add_argument(
        "--esp-nn",
        default="",
        metavar="VERSION",
        help="whose kernels' scratch a .tflite needs (default: the newest known); off: TFLM's own kernels",
    )
    parser.add_argument(
        "--wifi", action="store_true", help="Wi-Fi is up, so internal RAM has a smaller largest block"
    )
    parser.add_argument(
        "--largest",
        type=int,
        metavar="BYTES",
        help="largest block of internal RAM, as your image has it after boot",
    )
    parser.add_argument(
        "--learn", type=Path, metavar="RESULTS", help="take the largest block from rows of your own boards"
    )
    parser.add_argument(
        "--svg", type=Path, metavar="FILE", help="draw what lies in which memory, over the nodes' time"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with the place of every value")
    parser.add_argument(
        "--published",
        action="store_true",
        help="judge every published allocation, and show reported largest blocks",
    )


def run(args: Namespace) -> int:
    """Print the plan; 1 if it does not fit the chip's usual module."""
    from dataclasses import replace

    from esp_hil.formats.espdl import read_espdl
    from esp_hil.formats.espdl.memory import plan_memory
    from esp_hil.formats.kinds import kind_of, read_bytes
    from esp_hil.session.named_model import find
    from esp_hil.targets import target

    if args.published:
        return _published()
    require(args, MODEL=args.model, target=args.target)
    chip = target(args.target)
    named = find(args.model, recipe=args.recipe, chip=chip)
    image = read_bytes(named.path)
    if kind_of(image, named.path.name) == "tflite":
        return _tflite(args, chip, named.name, image)
    model = read_espdl(named.path, name=args.name)
    if named.model is not None:
        model = replace(model, name=named.name)
    plan = plan_memory(
        model,
        chip,
        max_internal_bytes=args.max_internal,
        psram=False if args.no_psram else None,
        param_copy=not args.no_param_copy,
    )
    room = _room(args, chip, plan.variable.internal_bytes, 0)
    if args.svg:
        from esp_hil.models.device_file import open_device_file
        from esp_hil.report.memory_map import boxes_of_plan

        copies = plan.parameter_copy
        copied = "psram" if copies.psram_bytes else "internal" if copies.internal_bytes else "flash"
        file = open_device_file(image, name=args.name)
        boxes = boxes_of_plan(model, plan, _weights(file), copied=copied)
        _draw(args.svg, file, chip, room=room, boxes=boxes, title=f"{model.name} on {chip.name}")
    print(_json(model, plan, chip, room) if args.json else _text(model, plan, chip, room))
    return 0 if all(_fits(plan, chip, room).values()) else 1


def _room(args: Namespace, chip: Target, arena_bytes: int, psram_bytes: int) -> Room:
    from esp_hil.models.blocks import room_for

    measured = (
        args.largest if args.largest is not None else _measured(args.learn, chip) if args.learn else None
    )
    return room_for(arena_bytes, chip, psram_bytes=psram_bytes, wifi=args.wifi, measured=measured)


def _measured(results: Path, chip: Target) -> int:
    """The smallest largest block that one's own boards of this chip reported.

    Raises:
        ConfigError: none did.
    """
    from esp_hil.results.journal import read_runs

    told = [
        int(row.counters["heap_internal_largest_bytes"][0])
        for row in read_runs(results).runs
        if row.target == chip.name and not row.simulated and "heap_internal_largest_bytes" in row.counters
    ]
    if not told:
        raise ConfigError(
            f"no board of {results} is an {chip.name} that told its heap_internal_largest_bytes",
            hint="run a suite on one: pytest suites --target ... --hil-board ...",
        )
    return min(told)


def _weights(file: DeviceFile) -> list[int]:
    """Bytes of parameters that each node reads."""
    from esp_hil.results.timing.work import work_of

    return [layer.parameter_bytes for layer in work_of(file)]


def _draw(
    path: Path, file: DeviceFile, chip: Target, *, room: Room, boxes: Sequence[MemoryBox], title: str
) -> None:
    """Write the picture; nodes are as wide as their predicted times, or alike where there is no prediction."""
    from esp_hil.errors import HilError
    from esp_hil.report.memory_map import svg
    from esp_hil.results.timing.forecast import forecast

    try:
        node_ms = [node.ms for node in forecast(file, chip).nodes]
    except HilError:
        node_ms = [1.0] * len(_weights(file))
    limits = {
        "internal": (room.largest_bytes, "largest block"),
        "psram": (chip.psram_bytes, "usual module"),
        "flash": (chip.flash_bytes, "usual module"),
    }
    try:
        path.write_text(svg(title, boxes, node_ms, limits), encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from None


def _tflite(args: Namespace, chip: Target, name: str, image: bytes) -> int:
    """The arena of a .tflite as one block, in internal RAM or else in PSRAM; 1 if it fits neither."""
    import json

    from esp_hil.formats.tflite import read_tflite
    from esp_hil.models.arena import arena_of
    from esp_hil.targets import psram_for_model

    arena = arena_of(read_tflite(image), image, chip=chip.name, esp_nn=args.esp_nn)
    psram = 0 if args.no_psram else psram_for_model(chip.psram_bytes)
    room = _room(args, chip, arena.bytes, psram)
    fits = {
        "internal": arena.bytes <= room.largest_bytes,
        "psram": arena.bytes <= psram,
        "flash": len(image) <= chip.flash_bytes,
    }
    where = "" if room.place == "nowhere" else room.place
    if args.svg:
        from esp_hil.models.device_file import open_device_file
        from esp_hil.report.memory_map import boxes_of_arena

        file = open_device_file(image)
        boxes = boxes_of_arena(arena, _weights(file), memory=where or "internal")
        _draw(args.svg, file, chip, room=room, boxes=boxes, title=f"{name} on {chip.name}")
    if args.json:
        peak = max((step.scratch_bytes for step in arena.steps), default=0)
        document = {
            "model": name,
            "target": chip.name,
            "arena_bytes": arena.bytes,
            "head_bytes": arena.head_bytes,
            "records_bytes": arena.tail_bytes,
            "scratch_bytes": peak,
            "steps": [
                {"operator": step.label, "live_bytes": step.live_bytes, "scratch_bytes": step.scratch_bytes}
                for step in arena.steps
            ],
            "largest_block_bytes": room.largest_bytes,
            "largest_block_known": room.how,
            "arena_in": where,
            "fits": fits,
        }
        print(json.dumps(document, indent=1))
    else:
        print("\n".join(_tflite_text(name, chip, arena, room=room, psram=psram, size=len(image))))
    return 0 if where and fits["flash"] else 1


def _tflite_text(name: str, chip: Target, arena: Arena, *, room: Room, psram: int, size: int) -> list[str]:
    lines = [f"{name} on {chip.name}: the arena takes {arena.how} {arena.bytes:,} bytes, in one block"]
    peak = arena.peak
    if peak is not None:
        scratch = f" and {peak.scratch_bytes:,} of ESP-NN's scratch" if peak.scratch_bytes else ""
        records = f"; TFLM's records {arena.tail_bytes:,}" if arena.tail_bytes else ""
        lines.append(
            f"most at once: {peak.live_bytes:,} bytes of activations{scratch} at {peak.label}{records}"
        )
    lines += [
        f"largest block of internal RAM after boot: {room.largest_bytes:,} ({room.how}); PSRAM {psram:,}; the file "
        f"takes {size:,} of {chip.flash_bytes:,} bytes of flash",
        "does not fit: take a board with PSRAM, or a smaller model"
        if room.place == "nowhere"
        else f"the arena lies in {room.place}",
    ]
    return lines


def _published() -> int:
    """What was asked for and whether it was there, beside what is judged; 1 if one is judged wrongly."""
    from esp_hil.models.blocks import allocations, reported_blocks

    words = {True: "fits", False: "fails"}
    print(f"{'chip':10}{'asked for':42}{'bytes':>12}{'from':>10}{'happened':>10}{'judged':>8}   source")
    for row in allocations():
        print(
            f"{row.target:10}{row.what:42}{row.arena_bytes + row.other_bytes:>12,}{row.asked:>10}"
            f"{words[row.happened]:>10}{words[row.judged]:>8}   {row.source}"
        )
    print(f"\n{'chip':10}{'image':42}{'largest block':>14}{'Wi-Fi':>7}   source")
    for block in reported_blocks():
        wifi = "up" if block.wifi else "no"
        print(
            f"{block.target:10}{block.image:42}{block.largest_bytes:>14,}{wifi:>7}   {block.source} ({block.known})"
        )
    return 0 if all(row.judged == row.happened for row in allocations()) else 1


def _fits(plan: MemoryPlan, chip: Target, room: Room) -> dict[str, bool]:
    from esp_hil.targets import psram_for_model

    psram = psram_for_model(chip.psram_bytes)
    limits = {"internal": chip.internal_bytes, "psram": psram, "flash": chip.flash_bytes}
    return {
        "internal": plan.needed_bytes("internal") <= limits["internal"]
        and plan.variable.internal_bytes <= room.largest_bytes,
        "psram": plan.needed_bytes("psram") <= limits["psram"],
        "flash": plan.needed_bytes("flash") <= limits["flash"],
    }


def _text(model: EspdlModel, plan: MemoryPlan, chip: Target, room: Room) -> str:
    from esp_hil.formats.espdl.memory import as_rows
    from esp_hil.targets import psram_for_model

    lines = [f"{model.name} on {chip.name} (bytes)", f"{'':16}{'internal':>12}{'psram':>12}{'flash':>12}"]
    for name, sizes in as_rows(plan).items():
        cells = (sizes.internal_bytes, sizes.psram_bytes, sizes.flash_bytes)
        lines.append(f"{name:16}" + "".join(f"{cell:>12,}" for cell in cells))
    limits = (chip.internal_bytes, psram_for_model(chip.psram_bytes), chip.flash_bytes)
    lines.append(f"{chip.name + ' has':16}" + "".join(f"{cell:>12,}" for cell in limits))
    lines.append(
        f"the arena (variable) is one block; the largest of internal RAM after boot has {room.largest_bytes:,} "
        f"({room.how})"
    )
    if plan.placements:
        node = model.graph.nodes[plan.peak_step]
        lines.append(f"most alive at once: {plan.peak_live_bytes:,} at {node.op_type} {node.name}")
    lines.append("parameter is part of fbs_model; ESP-DL adds objects and heap overhead (its `others`)")
    short = [memory for memory, fits in _fits(plan, chip, room).items() if not fits]
    if short:
        lines.append(f"does not fit: {', '.join(short)}")
    return "\n".join(lines)


def _json(model: EspdlModel, plan: MemoryPlan, chip: Target, room: Room) -> str:
    import json
    from dataclasses import asdict

    from esp_hil.formats.espdl.memory import as_rows

    document: dict[str, Any] = {
        "model": model.name,
        "sha256": model.sha256,
        "target": chip.name,
        "fits": _fits(plan, chip, room),
        "largest_block_bytes": room.largest_bytes,
        "largest_block_known": room.how,
        "memory": {name: asdict(sizes) for name, sizes in as_rows(plan).items()},
        "peak_live_bytes": plan.peak_live_bytes,
        "peak_node": model.graph.nodes[plan.peak_step].name if model.graph.nodes else "",
        "values": [asdict(place) for place in plan.placements],
    }
    return json.dumps(document, indent=1)
