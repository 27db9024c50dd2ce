"""`hil lint`: known hazards of a model, before it meets a chip."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import add_model

if TYPE_CHECKING:
    from esp_hil.lint import LintReport
    from esp_hil.models.named import NamedModel

HELP = "look for what is known to go wrong with an .espdl, .tflite or .onnx model on a chip"
EXAMPLES = """
  hil lint my.espdl --target esp32s3
  hil lint my.onnx --target esp32p4        before it is quantized
  hil lint --rules
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil lint`."""
    add_model(parser, optional=True)
    parser.add_argument("--target", help="the chip: esp32, esp32s3, esp32p4 ...")
    parser.add_argument("--name", help="which model of a pack")
    parser.add_argument(
        "--inputs", type=Path, metavar="IN.npz", help="data that will be fed, one array per input"
    )
    parser.add_argument("--partition", type=int, metavar="BYTES", help="size of the model's flash partition")
    parser.add_argument(
        "--psram", type=int, metavar="BYTES", help="PSRAM of the board, if not the usual module's"
    )
    parser.add_argument(
        "--esp-dl", default="", metavar="VERSION", help="of the firmware (default: the newest known)"
    )
    parser.add_argument(
        "--esp-nn", default="", metavar="VERSION", help="of the firmware, or off (default: the newest known)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rules", action="store_true", help="list the rules and stop")


def run(args: Namespace) -> int:
    """Print the findings; 1 if one of them is an error."""
    from dataclasses import replace

    from esp_hil.errors import ConfigError
    from esp_hil.lint import RULES, lint_file
    from esp_hil.lint import tflite as tflm_lint
    from esp_hil.session.named_model import find
    from esp_hil.targets import target

    if args.rules:
        for rule in RULES.values():
            print(f"{rule.name:24}{'/'.join(sorted(rule.stages)):12}{rule.about}")
        for entry in tflm_lint.RULES.values():
            print(f"{entry.name:24}{'tflite':12}{entry.about}")
        return 0
    if args.model is None:
        raise ConfigError("which model?", hint="hil lint MODEL, or --rules")
    chip = target(args.target) if args.target else None
    named = find(args.model, recipe=args.recipe, chip=chip)
    report = lint_file(
        named.path,
        name=args.name,
        target=chip,
        inputs=args.inputs,
        partition_bytes=args.partition,
        psram_bytes=args.psram,
        esp_dl=args.esp_dl,
        esp_nn=args.esp_nn,
    )
    if named.model is not None:
        report = replace(report, name=named.title)
    print(_json(report) if args.json else _text(report))
    if named.model is not None and not args.json and (others := _others(named)):
        print(f"not looked at: {', '.join(others)}; --recipe and --target choose")
    return 0 if report.passed else 1


def _others(named: NamedModel) -> list[str]:
    """The model's other device files, as `w8a8 esp32p4`."""
    assert named.model is not None
    return [
        f"{recipe.name} {family}"
        for recipe in named.model.recipes.values()
        for family in recipe.targets
        if (recipe.name, family) != (named.recipe, named.family)
    ]


def _text(report: LintReport) -> str:
    lines = []
    for finding in report.findings:
        where = f" at {finding.node}" if finding.node else ""
        lines += [f"{finding.severity}: {finding.rule}{where}", f"  {finding.why}", f"  -> {finding.todo}"]
    counts = ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}"
        for severity, count in (
            ("error", report.count("error")),
            ("warning", report.count("warning")),
            ("note", report.count("note")),
        )
    )
    chip = f" on {report.target}" if report.target else ""
    lines.append(f"{report.name}{chip}: {counts}")
    return "\n".join(lines)


def _json(report: LintReport) -> str:
    import json
    from dataclasses import asdict

    return json.dumps({**asdict(report), "passed": report.passed}, indent=1)
