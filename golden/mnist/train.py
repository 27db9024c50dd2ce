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

import argparse
import math
import sys
import time
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from harness.models.dataset import Labelled, load_split

HERE = Path(__file__).resolve().parent
MEAN, STD = 0.1307, 0.3081
TRAINABLE_PARAMETERS = 421_834
OPSET = 17
BATCH = 128


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

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, 10)."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 2)
        x = functional.max_pool2d(functional.relu(self.bn2(self.conv2(x))), 2)
        x = torch.flatten(x, 1)
        x = self.dropout(functional.relu(self.fc1(x)))
        return self.fc2(x)


def normalize(images: np.ndarray) -> Tensor:
    """uint8 (N, 28, 28) -> float32 (N, 1, 28, 28), zero mean and unit variance over MNIST."""
    return (torch.from_numpy(images).float().unsqueeze(1) / 255.0 - MEAN) / STD


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by up to 10 degrees, scale by up to 10 %, shear by up to 0.1, shift by up to 2 pixels."""
    count = len(x)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, shear = uniform(math.radians(10)), uniform(0.1)
    scale_x, scale_y = 1 + uniform(0.1), 1 + uniform(0.1)
    theta = torch.empty(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale_x * angle.cos(), -scale_y * (angle + shear).sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale_x * angle.sin(), scale_y * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(2 / 14), uniform(2 / 14)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    black = -MEAN / STD
    return functional.grid_sample(x - black, grid, mode="bilinear", align_corners=False) + black


def train(data: Labelled, *, epochs: int, seed: int) -> MnistCnn:
    """Train on all of `data`; returns the moving average of the weights, in evaluation mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = MnistCnn()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if trainable != TRAINABLE_PARAMETERS:
        raise SystemExit(
            f"the architecture has {trainable} trainable parameters, expected {TRAINABLE_PARAMETERS}"
        )
    images, labels = normalize(data.images), torch.from_numpy(data.labels)
    steps = math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, epochs=epochs, steps_per_epoch=steps, pct_start=0.2
    )
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    for epoch in range(epochs):
        model.train()
        started_s, total_loss = time.monotonic(), 0.0
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            logits = model(jitter(images[batch], generator))
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            total_loss += loss.item() * len(batch)
        seconds = time.monotonic() - started_s
        print(f"epoch {epoch + 1}/{epochs}: loss {total_loss / len(images):.4f}, {seconds:.0f} s", flush=True)
    return average.module.eval()


def top1(model: MnistCnn, data: Labelled) -> float:
    """Share of `data` whose largest logit is the label."""
    with torch.inference_mode():
        answers = torch.cat([model(x).argmax(1) for x in normalize(data.images).split(500)])
    return float((answers.numpy() == data.labels).mean())


def export(model: MnistCnn, path: Path) -> None:
    """Write the evaluation form of `model` as ONNX with a free batch axis N."""
    layers = OrderedDict(  # the names become those of the ONNX nodes and tensors
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
    folded = nn.Sequential(layers).eval()
    with warnings.catch_warnings():
        # the tracing exporter is "legacy", but writes these ten nodes plainly, without shape arithmetic for N
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            folded,
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
        "--data", type=Path, required=True, help="mnist.npz, or a folder with the four idx files"
    )
    parser.add_argument("--out", type=Path, default=HERE / "model.onnx")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--floor", type=float, default=0.993, help="least top-1 on the test images")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = train(load_split(options.data, "train"), epochs=options.epochs, seed=options.seed)
    accuracy = top1(model, load_split(options.data, "test"))
    print(f"top-1 on the test images: {accuracy:.4f}")
    if accuracy < options.floor:
        print(f"below {options.floor}: {options.out} was not written", file=sys.stderr)
        return 1
    export(model, options.out)
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
