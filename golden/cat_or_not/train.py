"""Train the binary classifier "cat or not" and write it as model.onnx.

    python golden/cat_or_not/train.py --data cat_or_not_gray32.npz [--out model.onnx] [--epochs 24] [--seed 0]

conv 3x3 1->16, ReLU, max pool 2, conv 3x3 16->32, ReLU, max pool 2, fc 8192->1, sigmoid on 64x64 gray images:
12,993 parameters, the net of a forum answer about TFLM on the ESP32 (see model.toml). The 32x32 images are
enlarged to 64x64 as `harness.models.dataset.doubled` does. The test images are looked at once, at the end.

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
PARAMETERS = 12_993
OPSET = 17
BATCH = 64
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
    parameters = sum(parameter.numel() for parameter in net.parameters())
    if parameters != PARAMETERS:
        raise SystemExit(f"the net has {parameters} parameters, expected {PARAMETERS}")
    return net


def to_float(images: np.ndarray) -> Tensor:
    """uint8 (N, 64, 64) -> float32 (N, 1, 64, 64) in 0..1."""
    return torch.from_numpy(images).float().unsqueeze(1) / 255.0


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


def train(data: Labelled, *, epochs: int, seed: int) -> nn.Sequential:
    """Train on all of `data`; returns the moving average of the weights, in evaluation mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = network()
    images, labels = to_float(data.images), torch.from_numpy(data.labels).float()
    steps = math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, epochs=epochs, steps_per_epoch=steps, pct_start=0.2
    )
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    for epoch in range(epochs):
        started_s, total_loss = time.monotonic(), 0.0
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            logits = net(varied(images[batch], generator))[:, 0]
            loss = functional.binary_cross_entropy_with_logits(logits, labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            total_loss += loss.item() * len(batch)
        seconds = time.monotonic() - started_s
        print(f"epoch {epoch + 1}/{epochs}: loss {total_loss / len(images):.4f}, {seconds:.0f} s", flush=True)
    trained: nn.Sequential = average.module.eval()
    return trained


def accuracy(net: nn.Sequential, data: Labelled) -> float:
    """Share of `data` that lies on the right side of one half."""
    with torch.inference_mode():
        logits = torch.cat([net(x)[:, 0] for x in to_float(data.images).split(200)])
    return float(((logits.numpy() >= 0) == (data.labels == 1)).mean())


def export(net: nn.Sequential, path: Path) -> None:
    """Write the net with its sigmoid as ONNX, free batch axis N."""
    net.add_module("sigmoid", nn.Sigmoid())
    with warnings.catch_warnings():
        # the tracing exporter is "legacy", but writes these nodes plainly, without shape arithmetic for N
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 1, SIDE, SIDE),),
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
        "--data", type=Path, required=True, help="an .npz with x_train, y_train, x_test, y_test"
    )
    parser.add_argument("--out", type=Path, default=HERE / "model.onnx")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--floor", type=float, default=0.70, help="least share of right test images")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    net = train(load_split(options.data, "train", enlarge=2), epochs=options.epochs, seed=options.seed)
    share = accuracy(net, load_split(options.data, "test", enlarge=2))
    print(f"right on the test images: {share:.4f}")
    if share < options.floor:
        print(f"below {options.floor}: {options.out} was not written")
        return 1
    export(net, options.out)
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
