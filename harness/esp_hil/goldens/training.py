"""Training a small net on labelled images: the loop, the export and the command line that golden/*/train.py share.

What is particular to a model (its layers, its augmentation, its figures) stays in its own script. This is the
only module outside the quantizing processes that imports torch; nothing but those scripts imports it.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

OPSET = 17

Vary = Callable[[Tensor, torch.Generator], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """AdamW with a one-cycle learning rate, and an exponential moving average of the weights."""

    epochs: int
    seed: int
    batch: int
    peak_rate: float
    weight_decay: float
    average: float  # decay of the moving average, a step
    rise: float = 0.2  # share of the steps in which the rate rises


def to_float(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W) -> float32 (N, 1, H, W) in 0..1."""
    return torch.from_numpy(images).float().unsqueeze(1) / 255.0


def smoothed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of (N, classes) against (N,) int64, with 0.05 of label smoothing."""
    return functional.cross_entropy(logits, labels, label_smoothing=0.05)


def uniform(count: int, limit: float, generator: torch.Generator) -> Tensor:
    """(count,) float32, evenly spread over -limit..limit."""
    return (torch.rand(count, generator=generator) * 2 - 1) * limit


def expect_parameters(model: nn.Module, expected: int) -> None:
    """End the script if the architecture has another number of trainable parameters than its source says."""
    found = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if found != expected:
        raise SystemExit(f"the architecture has {found} trainable parameters, expected {expected}")


def fit(
    build: Callable[[], nn.Module],
    images: Tensor,
    labels: Tensor,
    *,
    vary: Vary,
    loss: Loss = smoothed_cross_entropy,
    schedule: Schedule,
) -> nn.Module:
    """Train what `build` makes on all of `images` (N, 1, H, W); the averaged weights, in evaluation mode.

    The same seed gives the same weights with the same torch, thread count and processor.
    """
    torch.manual_seed(schedule.seed)
    generator = torch.Generator().manual_seed(schedule.seed)
    model = build()
    steps = math.ceil(len(images) / schedule.batch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=schedule.weight_decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=schedule.peak_rate,
        epochs=schedule.epochs,
        steps_per_epoch=steps,
        pct_start=schedule.rise,
    )
    average = torch.optim.swa_utils.AveragedModel(
        model,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(schedule.average),
        use_buffers=True,
    )
    for epoch in range(schedule.epochs):
        model.train()
        started_s, total = time.monotonic(), 0.0
        for batch in torch.randperm(len(images), generator=generator).split(schedule.batch):
            value = loss(model(vary(images[batch], generator)), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            rate.step()
            average.update_parameters(model)
            total += value.item() * len(batch)
        seconds = time.monotonic() - started_s
        print(
            f"epoch {epoch + 1}/{schedule.epochs}: loss {total / len(images):.4f}, {seconds:.0f} s",
            flush=True,
        )
    return average.module.eval()


def logits(model: nn.Module, images: Tensor) -> np.ndarray:
    """float32 (N, outputs) of `images` (N, 1, H, W)."""
    with torch.inference_mode():
        answers: np.ndarray = torch.cat([model(part) for part in images.split(200)]).numpy()
    return answers


def export(model: nn.Module, side: int, path: Path) -> None:
    """Write `model` in evaluation mode as ONNX: `input` (N, 1, side, side), `output`, a free batch axis N."""
    with warnings.catch_warnings():
        # the tracing exporter is "legacy", but writes such nodes plainly, without shape arithmetic for N
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.eval(),
            (torch.zeros(1, 1, side, side),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        )


def options(
    purpose: str, *, data: str, folder: Path, epochs: int, floor: float, threads: int = 1
) -> argparse.Namespace:
    """The command line of a training script: data, out, epochs, seed, floor; sets torch's threads."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--data", type=Path, required=True, help=data)
    parser.add_argument("--out", type=Path, default=folder / "model.onnx")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--floor", type=float, default=floor, help="least share of right test images")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    return given


def finish(model: nn.Module, share: float, side: int, given: argparse.Namespace) -> int:
    """Export `model`, or say that it is not good enough; the exit status of the script."""
    print(f"right on the test images: {share:.4f}")
    if share < given.floor:
        print(f"below {given.floor}: {given.out} was not written")
        return 1
    export(model, side, given.out)
    print(f"wrote {given.out}")
    return 0
