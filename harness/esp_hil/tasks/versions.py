"""What an update of ESP-DL changes: each golden picture answered as by two versions, a row each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from esp_hil import tasks
from esp_hil.errors import ConfigError
from esp_hil.tasks import pictures
from esp_hil.tasks.match import Match, match
from esp_hil.tasks.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateEffect:
    """One picture, answered as by two versions of ESP-DL.

    Attributes:
        task: its name.
        binding_class: the class of the MicroPython binding that does the same.
        picture: name of the golden picture.
        old: what the older version answers.
        new: what the newer one answers.
        match: the newer against the older, by the newer one's thresholds.
    """

    task: str
    binding_class: str
    picture: str
    old: Results
    new: Results
    match: Match


def updates(
    name: str, zoo: Path, chip: str, *, old: str, new: str = "", roots: Sequence[Path] | None = None
) -> Iterator[UpdateEffect]:
    """Every golden picture of a task.

    Args:
        name: of the task.
        zoo: folder with the weights of both versions.
        chip: a target that they are for.
        old: a version of ESP-DL, such as `3.1.5`.
        new: another; "": the newest.
        roots: folders with tasks; None: golden/.

    Raises:
        ConfigError: the task is the same in both, or weights are missing.
    """
    spec = tasks.read_spec(name, roots)
    if spec.of_espdl(old) is spec.of_espdl(new):
        raise ConfigError(
            f"{name} is the same in ESP-DL {old or 'newest'} and {new or 'newest'}",
            hint=f"versions that have their own: {', '.join(spec.older) or 'none'}",
        )
    before, after = (tasks.load(name, zoo, chip, espdl=version, roots=roots) for version in (old, new))
    for picture in after.spec.golden:
        image = pictures.picture(picture)
        was, now = before.run(image), after.run(image)
        yield UpdateEffect(
            task=name,
            binding_class=spec.binding_class,
            picture=picture,
            old=was,
            new=now,
            match=match(now, was, after.spec.thresholds),
        )


def table(rows: Sequence[UpdateEffect], *, old: str, new: str) -> str:
    """A Markdown table for each task, its first line how many pictures lie outside the thresholds."""
    made: list[str] = []
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        other = sum(not row.match.ok for row in of_task)
        made += [
            f"## {of_task[0].binding_class}: {other} of {len(of_task)} answered otherwise",
            "",
            f"| picture | {old} | {new} | least overlap | landmarks px | score | cosine | the same |",
            "|---|---|---|---:|---:|---:|---:|---|",
            *(_line(row) for row in of_task),
            "",
        ]
    return "\n".join(made).rstrip()


def _line(row: UpdateEffect) -> str:
    pairs, labels = row.match.pairs, (row.old.labels[:1], row.new.labels[:1])
    overlap = f"{min(pair.iou for pair in pairs):.3f}" if pairs else ""
    pixels = f"{max(pair.landmark_px for pair in pairs):.1f}" if any(p.got.landmarks for p in pairs) else ""
    scores = [pair.score for pair in pairs]
    scores += [abs(was.score - now.score) for was, now in zip(*labels, strict=False) if was.name == now.name]
    score = f"{max(scores):.3f}" if scores else ""
    cosine = f"{row.match.cosine:.3f}" if row.match.cosine is not None else ""
    cells = (_said(row.old), _said(row.new), overlap, pixels, score, cosine, "yes" if row.match.ok else "no")
    return f"| {row.picture} | {' | '.join(cells)} |"


def _said(results: Results) -> str:
    """The best class, or all that was found, with scores."""
    if results.labels:
        return f"{results.labels[0].name} {results.labels[0].score:.3f}"
    return ", ".join(f"{one.name or 'face'} {one.score:.3f}" for one in results.detections) or "nothing"
