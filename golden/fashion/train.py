"""Train the Fashion-MNIST net of the ESP32 TFLM project named in model.toml and write it as model.onnx.

    python golden/fashion/train.py --data DATA [--out model.onnx] [--epochs 300] [--seed 0]

DATA is an .npz or a folder with the four idx files of the whole set (60,000 images); the committed model.onnx
was trained on 720 images only, hence the many epochs. conv 3x3 1->6, ReLU, max pool 2, conv 3x3 6->6, ReLU,
fc 726->10, softmax: 7,660 parameters. The test images are looked at once, at the end.

Needs torch 2.13.0. The same seed gives the same weights with the same torch, thread count and processor.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from esp_hil.goldens import training
from esp_hil.models.dataset import load_split

HERE = Path(__file__).resolve().parent
PARAMETERS = 7_660


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
    training.expect_parameters(net, PARAMETERS)
    return net


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, rotate by 5 degrees, scale by 10 %, shift by 2 pixels, dim by 20 %."""
    count = len(x)
    uniform = partial(training.uniform, count, generator=generator)

    angle, scale_x, scale_y = uniform(math.radians(5)), 1 + uniform(0.1), 1 + uniform(0.1)
    mirror = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    theta = torch.empty(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * scale_x * angle.cos(), -scale_y * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * scale_x * angle.sin(), scale_y * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(2 / 14), uniform(2 / 14)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    moved = functional.grid_sample(x, grid, mode="bilinear", align_corners=False)
    return moved * (1 - 0.2 * torch.rand(count, 1, 1, 1, generator=generator))


def main() -> int:
    """Train, measure on the test images, export; exit status 1 below --floor."""
    given = training.options(
        __doc__.splitlines()[0],
        data="an .npz, or a folder with the four idx files",
        folder=HERE,
        epochs=300,
        floor=0.75,
    )
    known, unseen = load_split(given.data, "train"), load_split(given.data, "test")
    net = training.fit(
        network,
        training.to_float(known.images),
        torch.from_numpy(known.labels),
        vary=jitter,
        schedule=training.Schedule(
            epochs=given.epochs,
            seed=given.seed,
            batch=64,
            peak_rate=6e-3,
            weight_decay=5e-2,
            average=0.995,
            rise=0.1,
        ),
    )
    answers = training.logits(net, training.to_float(unseen.images)).argmax(1)
    net.add_module("softmax", nn.Softmax(1))
    return training.finish(net, float((answers == unseen.labels).mean()), 28, given)


if __name__ == "__main__":
    raise SystemExit(main())
