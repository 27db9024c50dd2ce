"""`hil plan`: the memory that a model takes on a chip, before anything is built."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from esp_hil.commands import add_model

if TYPE_CHECKING:
    from esp_hil.formats.espdl import EspdlModel
    from esp_hil.formats.espdl.memory import MemoryPlan
    from esp_hil.targets import Target

HELP = "show the memory a model takes on a chip"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil plan`."""
    add_model(parser)
    parser.add_argument("--target", required=True, help="the chip, a row of targets.toml")
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
    parser.add_argument("--json", action="store_true", help="print JSON, with the place of every value")


def run(args: Namespace) -> int:
    """Print the plan; 1 if it does not fit the chip's usual module."""
    from dataclasses import replace

    from esp_hil.formats.espdl import read_espdl
    from esp_hil.formats.espdl.memory import plan_memory
    from esp_hil.formats.kinds import kind_of, read_bytes
    from esp_hil.models.named import find
    from esp_hil.targets import target

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
    print(_json(model, plan, chip) if args.json else _text(model, plan, chip))
    return 0 if all(_fits(plan, chip).values()) else 1


def _tflite(args: Namespace, chip: Target, name: str, image: bytes) -> int:
    """The arena of a .tflite as one block, in internal RAM or else in PSRAM; 1 if it fits neither."""
    import json

    from esp_hil.formats.tflite import read_tflite
    from esp_hil.lint.tflite import arena_bytes

    arena, how = arena_bytes(read_tflite(image), image)
    psram = 0 if args.no_psram else chip.psram_bytes
    fits = {
        "internal": arena <= chip.largest_block_bytes,
        "psram": arena <= psram,
        "flash": len(image) <= chip.flash_bytes,
    }
    where = next((memory for memory in ("internal", "psram") if fits[memory]), "")
    if args.json:
        print(
            json.dumps(
                {
                    "model": name,
                    "target": chip.name,
                    "arena_bytes": arena,
                    "largest_block_bytes": chip.largest_block_bytes,
                    "arena_in": where,
                    "fits": fits,
                },
                indent=1,
            )
        )
    else:
        print(f"{name} on {chip.name}: the arena takes {how} {arena:,} bytes, in one block")
        print(
            f"largest block of a fresh image: about {chip.largest_block_bytes:,} of internal RAM, "
            f"{psram:,} of PSRAM; the file takes {len(image):,} of {chip.flash_bytes:,} bytes of flash"
        )
        print(
            f"the arena lies in {where}"
            if where
            else "does not fit: take a board with PSRAM, or a smaller model"
        )
    return 0 if where and fits["flash"] else 1


def _fits(plan: MemoryPlan, chip: Target) -> dict[str, bool]:
    limits = {"internal": chip.internal_bytes, "psram": chip.psram_bytes, "flash": chip.flash_bytes}
    return {
        "internal": plan.needed_bytes("internal") <= limits["internal"]
        and plan.variable.internal_bytes <= chip.largest_block_bytes,
        "psram": plan.needed_bytes("psram") <= limits["psram"],
        "flash": plan.needed_bytes("flash") <= limits["flash"],
    }


def _text(model: EspdlModel, plan: MemoryPlan, chip: Target) -> str:
    from esp_hil.formats.espdl.memory import as_rows

    lines = [f"{model.name} on {chip.name} (bytes)", f"{'':16}{'internal':>12}{'psram':>12}{'flash':>12}"]
    for name, sizes in as_rows(plan).items():
        cells = (sizes.internal_bytes, sizes.psram_bytes, sizes.flash_bytes)
        lines.append(f"{name:16}" + "".join(f"{cell:>12,}" for cell in cells))
    limits = (chip.internal_bytes, chip.psram_bytes, chip.flash_bytes)
    lines.append(f"{chip.name + ' has':16}" + "".join(f"{cell:>12,}" for cell in limits))
    lines.append(
        f"the arena (variable) is one block; the largest of a fresh image has about {chip.largest_block_bytes:,} "
        "of internal RAM"
    )
    if plan.placements:
        node = model.graph.nodes[plan.peak_step]
        lines.append(f"most alive at once: {plan.peak_live_bytes:,} at {node.op_type} {node.name}")
    lines.append("parameter is part of fbs_model; ESP-DL adds objects and heap overhead (its `others`)")
    short = [memory for memory, fits in _fits(plan, chip).items() if not fits]
    if short:
        lines.append(f"does not fit: {', '.join(short)}")
    return "\n".join(lines)


def _json(model: EspdlModel, plan: MemoryPlan, chip: Target) -> str:
    import json
    from dataclasses import asdict

    from esp_hil.formats.espdl.memory import as_rows

    document: dict[str, Any] = {
        "model": model.name,
        "sha256": model.sha256,
        "target": chip.name,
        "fits": _fits(plan, chip),
        "memory": {name: asdict(sizes) for name, sizes in as_rows(plan).items()},
        "peak_live_bytes": plan.peak_live_bytes,
        "peak_node": model.graph.nodes[plan.peak_step].name if model.graph.nodes else "",
        "values": [asdict(place) for place in plan.placements],
    }
    return json.dumps(document, indent=1)
