"""Train the MNIST CNN of the ESP32-P4 tutorial and write it as model.onnx.

    python golden/mnist/train.py --data mnist.npz [--out model.onnx] [--epochs 15] [--seed 0]

The architecture is that of the tutorial named in model.toml (421,834 trainable parameters). The training is
our own: AdamW, one-cycle learning rate, label smoothing, small random affine maps of the images, an
exponential moving average of the weights; the test images are looked at once, at the end. The exported
graph is the evaluation form: BatchNorm folded into the convolutions, dropout gone, input (N, 1, 28, 28)
float32 normalized as in model.toml, output (N, 10) logits.

Needs torch 2.13.0. The same seed gives the same weights with the same torch, thread count and processor;
elsewhere the last digits differ, which is why model.onnx is committed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from esp_hil.goldens import training
from esp_hil.models.dataset import load_split

HERE = Path(__file__).resolve().parent
MEAN, STD = 0.1307, 0.3081
TRAINABLE_PARAMETERS = 421_834


class MnistCnn(nn.Module):
    """Two convolutions with BatchNorm and max pooling, two fully connected layers; NCHW to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * 7 * 7, 128)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, 10)
        training.expect_parameters(self, TRAINABLE_PARAMETERS)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, 10)."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 2)
        x = functional.max_pool2d(functional.relu(self.bn2(self.conv2(x))), 2)
        x = torch.flatten(x, 1)
        x = self.dropout(functional.relu(self.fc1(x)))
        return self.fc2(x)


def normalize(images: np.ndarray) -> Tensor:
    """uint8 (N, 28, 28) -> float32 (N, 1, 28, 28), zero mean and unit variance over MNIST."""
    return (training.to_float(images) - MEAN) / STD


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by up to 10 degrees, scale by up to 10 %, shear by up to 0.1, shift by up to 2 pixels."""
    count = len(x)
    uniform = partial(training.uniform, count, generator=generator)

    angle, shear = uniform(math.radians(10)), uniform(0.1)
    scale_x, scale_y = 1 + uniform(0.1), 1 + uniform(0.1)
    theta = torch.empty(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale_x * angle.cos(), -scale_y * (angle + shear).sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale_x * angle.sin(), scale_y * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(2 / 14), uniform(2 / 14)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    black = -MEAN / STD
    return functional.grid_sample(x - black, grid, mode="bilinear", align_corners=False) + black


def folded(model: MnistCnn) -> nn.Sequential:
    """The evaluation form: BatchNorm inside the convolutions, no dropout; its names become the ONNX nodes'."""
    return nn.Sequential(
        OrderedDict(
            conv1=fuse_conv_bn_eval(model.conv1, model.bn1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=fuse_conv_bn_eval(model.conv2, model.bn2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=model.fc1,
            relu3=nn.ReLU(),
            fc2=model.fc2,
        )
    )


def main() -> int:
    """Train, measure on the test images, export; exit status 1 below --floor."""
    given = training.options(
        __doc__.splitlines()[0],
        data="mnist.npz, or a folder with the four idx files",
        folder=HERE,
        epochs=15,
        floor=0.993,
        threads=2,
    )
    known, unseen = load_split(given.data, "train"), load_split(given.data, "test")
    model = training.fit(
        MnistCnn,
        normalize(known.images),
        torch.from_numpy(known.labels),
        vary=jitter,
        schedule=training.Schedule(
            epochs=given.epochs, seed=given.seed, batch=128, peak_rate=3e-3, weight_decay=1e-2, average=0.998
        ),
    )
    answers = training.logits(model, normalize(unseen.images)).argmax(1)
    return training.finish(folded(model), float((answers == unseen.labels).mean()), 28, given)


if __name__ == "__main__":
    raise SystemExit(main())
