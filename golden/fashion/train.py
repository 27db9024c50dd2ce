"""Train the Fashion-MNIST net of the ESP32 TFLM project named in model.toml and write it as model.onnx.

    python golden/fashion/train.py --data DATA [--out model.onnx] [--epochs 300] [--seed 0]

DATA is an .npz or a folder with the four idx files of the whole set (60,000 images); the committed model.onnx
was trained on 720 images only, hence the many epochs. conv 3x3 1->6, ReLU, max pool 2, conv 3x3 6->6, ReLU,
fc 726->10, softmax: 7,660 parameters. The test images are looked at once, at the end.

Needs torch 2.13.0. The same seed gives the same weights with the same torch, thread count and processor.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.models.dataset import Labelled, load_split

HERE = Path(__file__).resolve().parent
PARAMETERS = 7_660
OPSET = 17
BATCH = 64


def network() -> nn.Sequential:
    """NCHW (N, 1, 28, 28) in 0..1 to logits (N, 10); the names become those of the ONNX nodes."""
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(1, 6, 3))
    net.add_module("relu1", nn.ReLU())
    net.add_module("pool1", nn.MaxPool2d(2))
    net.add_module("conv2", nn.Conv2d(6, 6, 3))
    net.add_module("relu2", nn.ReLU())
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc", nn.Linear(6 * 11 * 11, 10))
    parameters = sum(parameter.numel() for parameter in net.parameters())
    if parameters != PARAMETERS:
        raise SystemExit(f"the net has {parameters} parameters, expected {PARAMETERS}")
    return net


def to_float(images: np.ndarray) -> Tensor:
    """uint8 (N, 28, 28) -> float32 (N, 1, 28, 28) in 0..1."""
    return torch.from_numpy(images).float().unsqueeze(1) / 255.0


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, rotate by 5 degrees, scale by 10 %, shift by 2 pixels, dim by 20 %."""
    count = len(x)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, scale_x, scale_y = uniform(math.radians(5)), 1 + uniform(0.1), 1 + uniform(0.1)
    mirror = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    theta = torch.empty(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * scale_x * angle.cos(), -scale_y * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * scale_x * angle.sin(), scale_y * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(2 / 14), uniform(2 / 14)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    moved = functional.grid_sample(x, grid, mode="bilinear", align_corners=False)
    return moved * (1 - 0.2 * torch.rand(count, 1, 1, 1, generator=generator))


def train(data: Labelled, *, epochs: int, seed: int) -> nn.Sequential:
    """Train on all of `data`; returns the moving average of the weights, in evaluation mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = network()
    images, labels = to_float(data.images), torch.from_numpy(data.labels)
    steps = math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=6e-3, epochs=epochs, steps_per_epoch=steps, pct_start=0.1
    )
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    started_s = time.monotonic()
    for epoch in range(epochs):
        total_loss = 0.0
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            logits = net(jitter(images[batch], generator))
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            total_loss += loss.item() * len(batch)
        if (epoch + 1) % max(1, epochs // 10) == 0:
            seconds = time.monotonic() - started_s
            print(
                f"epoch {epoch + 1}/{epochs}: loss {total_loss / len(images):.4f}, {seconds:.0f} s",
                flush=True,
            )
    trained: nn.Sequential = average.module.eval()
    return trained


def top1(net: nn.Sequential, data: Labelled) -> float:
    """Share of `data` whose largest logit is the label."""
    with torch.inference_mode():
        answers = torch.cat([net(x).argmax(1) for x in to_float(data.images).split(500)])
    return float((answers.numpy() == data.labels).mean())


def export(net: nn.Sequential, path: Path) -> None:
    """Write the net with its softmax as ONNX, free batch axis N."""
    net.add_module("softmax", nn.Softmax(1))
    with warnings.catch_warnings():
        # the tracing exporter is "legacy", but writes these nodes plainly, without shape arithmetic for N
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 1, 28, 28),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        )


def main() -> int:
    """Train, measure on the test images, export; exit status 1 below --floor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="an .npz, or a folder with the four idx files"
    )
    parser.add_argument("--out", type=Path, default=HERE / "model.onnx")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--floor", type=float, default=0.75, help="least top-1 on the test images")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    net = train(load_split(options.data, "train"), epochs=options.epochs, seed=options.seed)
    share = top1(net, load_split(options.data, "test"))
    print(f"top-1 on the test images: {share:.4f}")
    if share < options.floor:
        print(f"below {options.floor}: {options.out} was not written")
        return 1
    export(net, options.out)
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
