"""`hil task`: a picture through a detection, recognition or classification task, as a chip would answer it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError, ReportError, cannot_write

if TYPE_CHECKING:
    from esp_hil.tasks import Image, Results, Task, Trace
    from esp_hil.tasks.frames import FrameTime

HELP = "find faces, people, cats or objects in a picture, or name it, as ESP-DL on a chip does"
EXAMPLES = """
  hil task list
  hil task face_detect photo.jpg --zoo esp-dl/models --save found.png
  hil task all --zoo esp-dl/models --update-from 3.1.5
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil task`."""
    parser.add_argument(
        "task",
        metavar="TASK",
        help="face_detect, face_recognize, pedestrian, cat, imagenet, coco; `list`; `all` with --update-from",
    )
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="JPEG or PNG file, or @NAME of a golden picture (@list)"
    )
    parser.add_argument("--zoo", type=Path, metavar="DIR", help="folder with ESP-DL's models (or HIL_ZOO)")
    parser.add_argument(
        "--target", default="esp32s3", metavar="T", help="chip to answer for (default: %(default)s)"
    )
    parser.add_argument("--variant", default="", help="of several networks, which one (see `hil task list`)")
    parser.add_argument(
        "--espdl",
        default="",
        metavar="VERSION",
        help="answer as this ESP-DL does, e.g. 3.1.5, with its weights (default: the newest)",
    )
    parser.add_argument(
        "--update-from",
        metavar="VERSION",
        help="what an update of ESP-DL changes: each golden picture as by VERSION, e.g. 3.1.5, and by --espdl",
    )
    parser.add_argument("--format", metavar="F", help="convert to this pixel format first, e.g. rgb565be")
    parser.add_argument("--size", metavar="WxH", help="scale to this size first, e.g. 320x240 or QVGA")
    parser.add_argument("--json", action="store_true", help="print one JSON line for each picture")
    parser.add_argument("--dump", type=Path, metavar="DIR", help="write every intermediate array to DIR")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="compare every step with a folder that --dump wrote"
    )
    parser.add_argument(
        "--frames",
        action="store_true",
        help="time the picture at all frame sizes and formats on this machine, published frame rates beside",
    )
    parser.add_argument("--csv", type=Path, metavar="OUT.csv", help="write the rows of --frames")
    parser.add_argument(
        "--save", type=Path, metavar="OUT.png", help="draw the boxes into a copy (one picture)"
    )


def run(args: Namespace) -> int:
    """Answer each picture."""
    from esp_hil import tasks

    if args.task == "list" or args.images == ["@list"]:
        return _list(args.task)
    if args.update_from:
        return _updates(args)
    if args.task == "all":
        raise ConfigError(
            "`all` is for --update-from", hint="of a picture one task is asked; hil task list names them"
        )
    if not args.images:
        raise ConfigError("no picture given", hint="a JPEG or PNG file, or @astronaut; @list names them all")
    if args.save and len(args.images) != 1:
        raise ConfigError("--save draws one picture", hint="give one IMAGE")
    tasks.read_spec(args.task)  # a wrong name is said before a missing zoo
    zoo = tasks.zoo_folder(args.zoo)
    task = tasks.load(args.task, zoo, args.target, variant=args.variant, espdl=args.espdl)
    if args.frames:
        return _frames(task, args)
    for name in args.images:
        _answer(task, name, args)
    if task.spec.kind == "recognition" and len(args.images) > 1 and not args.json:
        _similarities(task, args)
    return 0


def _answer(task: Task, name: str, args: Namespace) -> None:
    from esp_hil.tasks import Trace

    image = _image(name, args)
    trace = Trace(keep=bool(args.dump or args.against))
    results = task.run(image, trace=trace)
    _print(name, results, args)
    if args.dump is not None:
        _dump(args.dump / Path(name.lstrip("@")).stem, trace)
    if args.against is not None:
        _compare(args.against, trace)
    if args.save is not None:
        _draw(image, results, args.save)


def _updates(args: Namespace) -> int:
    """A table for each task: what a board with one ESP-DL answers, and what one with another does."""
    from esp_hil import tasks
    from esp_hil.tasks.versions import table, updates

    if args.images:
        raise ConfigError("--update-from takes the golden pictures", hint="leave the pictures out")
    names = tasks.names() if args.task == "all" else (args.task,)
    for name in names:
        tasks.read_spec(name)
    zoo, new = tasks.zoo_folder(args.zoo), args.espdl or "newest"
    title = (
        f"# What an update from ESP-DL {args.update_from} to {args.espdl or 'the newest'} changes\n\n"
        f"Made by `hil task {args.task} --update-from {args.update_from} --target {args.target} --zoo DIR`: the\n"
        "golden pictures by the exact reference with the weights, sizes and thresholds of either version.\n\n"
    )
    for name in names:
        rows = list(updates(name, zoo, args.target, old=args.update_from, new=args.espdl))
        print(f"{title}{table(rows, old=f'ESP-DL {args.update_from}', new=new)}\n", flush=True)
        title = ""
    return 0


def _list(task: str) -> int:
    from esp_hil import tasks
    from esp_hil.tasks import pictures

    if task != "list":
        print("\n".join(f"@{name}" for name in pictures.names()))
        return 0
    for name in tasks.names():
        spec = tasks.read_spec(name)
        networks = ", ".join(spec.networks)
        print(f"{name:16} {spec.title}; networks: {networks}; {spec.component}")
    return 0


def _image(name: str, args: Namespace) -> Image:
    from esp_hil.tasks import FORMATS, Image, pictures

    image = pictures.picture(name[1:]) if name.startswith("@") else Image.of_file(Path(name))
    if args.size:
        width, height = _size(args.size)
        image = Image.of_rgb(pictures.scaled(image.rgb(), width, height))
    if args.format:
        wanted = next((known for known in FORMATS if known == args.format.lower()), None)
        if wanted is None:
            raise ConfigError(
                f"--format {args.format} is not a pixel format", hint=f"one of: {', '.join(FORMATS)}"
            )
        image = image.to(wanted)
    return image


def _size(text: str) -> tuple[int, int]:
    from esp_hil.tasks import FRAMES

    if text.upper() in FRAMES:
        return FRAMES[text.upper()]
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError(
            f"--size {text} is not a size", hint=f"give it as 320x240, or one of: {', '.join(FRAMES)}"
        )
    return int(width), int(height)


def _print(name: str, results: Results, args: Namespace) -> None:
    if args.json:
        import json

        print(json.dumps({"image": name, **results.to_json()}))
        return
    print(f"{name} ({results.width}x{results.height})")
    for label in results.labels:
        print(f"  {label.score:6.3f}  {label.index:4d}  {label.name}")
    for one in results.detections:
        points = " ".join(f"({x},{y})" for x, y in one.landmarks)
        print(f"  {one.score:6.3f}  {one.name or one.index}  {one.box}{'  ' + points if points else ''}")
    if not results.labels and not results.detections:
        print("  nothing found")


def _similarities(task: Task, args: Namespace) -> None:
    """Who looks like whom, for recognition of several pictures."""
    from esp_hil.tasks import cosine

    found = [(name, task.run(_image(name, args)).embedding) for name in args.images]
    faces = [(name, one.values) for name, one in found if one is not None]
    least = task.spec.thresholds.same_person
    print(f"similarity of the largest faces (above {least}: the same person)")
    for index, (name, values) in enumerate(faces):
        row = "  ".join(f"{cosine(values, others):6.3f}" for _, others in faces[: index + 1])
        print(f"  {row}  {name}")


def _frames(task: Task, args: Namespace) -> int:
    """One line for each size and format; the network's time against the frame's size at the end."""
    from esp_hil.tasks import frames

    print("frame     pixels     format    sent bytes   decode  resize  network    post ms  published fps")
    rows = []
    for row in frames.measure(task, _image(args.images[0], args).rgb(), chip=args.target):
        rows.append(row)
        fps = f"{row.published_fps:13g}" if row.published_fps is not None else f"{'-':>13}"
        print(
            f"{row.frame:9} {row.width:4}x{row.height:<5} {row.format:9} {row.sent_bytes:10} "
            f"{row.decode_ms:8.2f} {row.resize_ms:7.2f} {row.network_ms:8.2f} {row.post_ms:10.2f}  {fps}"
        )
    for_each = [row.network_ms / row.inferences for row in rows]
    pixels = [row.width * row.height for row in rows]
    print(
        f"one inference takes {min(for_each):.2f} to {max(for_each):.2f} ms here, "
        f"while the frame grows {max(pixels) / min(pixels):.0f} times"
    )
    if args.csv is not None:
        _write_rows(args.csv, rows)
    return 0


def _write_rows(path: Path, rows: Sequence[FrameTime]) -> None:
    import csv
    from dataclasses import asdict

    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    except OSError as error:
        raise cannot_write(path, error) from error


def _dump(folder: Path, trace: Trace) -> None:
    from esp_hil.tasks.steps import write_steps

    write_steps(folder, trace.arrays)
    print(f"hil task: {len(trace.arrays)} arrays in {folder}", file=sys.stderr)


def _compare(folder: Path, trace: Trace) -> None:
    """Each step against the one in the folder; the first that differs is named at the end."""
    from esp_hil.tasks.steps import compare_steps, read_steps

    found = compare_steps(trace.arrays, read_steps(folder))
    for step in found:
        print(f"  {'' if step.equal else '*'}{step.name}: {step.summary}")
    first = next((step.name for step in found if not step.equal), None)
    print(
        f"  all {len(found)} steps are equal"
        if first is None
        else f"  the first step that differs is {first}"
    )


def _draw(image: Image, results: Results, path: Path) -> None:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    picture = Pillow.fromarray(image.rgb())
    draw = ImageDraw.Draw(picture)
    for one in results.detections:
        draw.rectangle(one.box, outline=(255, 0, 0), width=2)
        draw.text((one.box[0] + 3, one.box[1] + 3), f"{one.name} {one.score:.2f}", fill=(255, 0, 0))
        for x, y in one.landmarks:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(0, 255, 0))
    for row, label in enumerate(results.labels):
        draw.text((4, 4 + 12 * row), f"{label.score:.3f} {label.name}", fill=(255, 0, 0))
    try:
        picture.save(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    except ValueError as error:
        raise ReportError(f"cannot write {path}: {error}", hint="a name that ends in .png") from error
