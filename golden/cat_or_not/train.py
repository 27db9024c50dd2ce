"""Train the binary classifier "cat or not" and write it as model.onnx.

    python golden/cat_or_not/train.py --data cat_or_not_gray32.npz [--out model.onnx] [--epochs 24] [--seed 0]

conv 3x3 1->16, ReLU, max pool 2, conv 3x3 16->32, ReLU, max pool 2, fc 8192->1, sigmoid on 64x64 gray images:
12,993 parameters, the net of a forum answer about TFLM on the ESP32 (see model.toml). The 32x32 images are
enlarged to 64x64 as `esp_hil.models.dataset.doubled` does. The test images are looked at once, at the end.

Needs torch 2.13.0. The same seed gives the same weights with the same torch, thread count and processor.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from esp_hil.goldens import training
from esp_hil.models.dataset import load_split

HERE = Path(__file__).resolve().parent
PARAMETERS = 12_993
SIDE = 64


def network() -> nn.Sequential:
    """NCHW (N, 1, 64, 64) in 0..1 to one logit (N, 1); the names become those of the ONNX nodes."""
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(1, 16, 3, padding=1))
    net.add_module("relu1", nn.ReLU())
    net.add_module("pool1", nn.MaxPool2d(2))
    net.add_module("conv2", nn.Conv2d(16, 32, 3, padding=1))
    net.add_module("relu2", nn.ReLU())
    net.add_module("pool2", nn.MaxPool2d(2))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc", nn.Linear(32 * 16 * 16, 1))
    training.expect_parameters(net, PARAMETERS)
    return net


def varied(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, shift by up to 6 pixels, change contrast and brightness a little."""
    count = len(x)
    mirror = torch.rand(count, generator=generator) < 0.5
    x = torch.where(mirror[:, None, None, None], x.flip(3), x)
    padded = functional.pad(x, (6, 6, 6, 6), mode="replicate")
    left, upper = torch.randint(0, 13, (2,), generator=generator).tolist()
    moved = padded[:, :, upper : upper + SIDE, left : left + SIDE]
    contrast = 1 + 0.2 * (torch.rand(count, 1, 1, 1, generator=generator) * 2 - 1)
    brightness = 0.1 * (torch.rand(count, 1, 1, 1, generator=generator) * 2 - 1)
    return ((moved - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of logits (N, 1) against (N,) float32, 0 or 1."""
    return functional.binary_cross_entropy_with_logits(logits[:, 0], labels)


def main() -> int:
    """Train, measure on the test images, export; exit status 1 below --floor."""
    given = training.options(
        __doc__.splitlines()[0],
        data="an .npz with x_train, y_train, x_test, y_test",
        folder=HERE,
        epochs=24,
        floor=0.70,
    )
    known, unseen = (load_split(given.data, part, enlarge=2) for part in ("train", "test"))
    net = training.fit(
        network,
        training.to_float(known.images),
        torch.from_numpy(known.labels).float(),
        vary=varied,
        loss=loss,
        schedule=training.Schedule(
            epochs=given.epochs, seed=given.seed, batch=64, peak_rate=3e-3, weight_decay=5e-2, average=0.998
        ),
    )
    cats = training.logits(net, training.to_float(unseen.images))[:, 0] >= 0
    net.add_module("sigmoid", nn.Sigmoid())
    return training.finish(net, float((cats == (unseen.labels == 1)).mean()), SIDE, given)


if __name__ == "__main__":
    raise SystemExit(main())
