"""Train LightGestureNet on photographs of hands and write it as model.onnx.

    python golden/gesture/train.py --data sign_digits_96.npz [--out model.onnx] [--epochs 80] [--seed 0]

The architecture is that of the ESP32-S3 tutorial named in model.toml: a stem, four inverted residual
blocks with ReLU6, global average pooling, one fully connected layer; 39,256 trainable parameters. The
training is our own: AdamW, one-cycle learning rate, label smoothing, rotation, scale, shear, shift, contrast
and brightness of the images, an exponential moving average of the weights. There are no flips: a mirrored
hand is another hand, and upside down some digits are others.

The test images are those of test_images.txt (split.py says how they were chosen), looked at once, at the end.
The exported graph is the evaluation form: BatchNorm folded into the convolutions, input (N, 1, 96, 96)
float32 in 0..1, output (N, 8) logits.

Needs torch 2.13.0. The same seed gives the same weights with the same torch, thread count and processor;
elsewhere the last digits differ, which is why model.onnx is committed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from esp_hil.goldens import training
from esp_hil.models.dataset import load_split, read_digests
from esp_hil.verdict.verdict import Accuracy

HERE = Path(__file__).resolve().parent
CLASSES = tuple(range(8))
TRAINABLE_PARAMETERS = 39_256


def conv_bn(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the size (but for the stride), and its BatchNorm."""
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Block(nn.Module):
    """Inverted residual: 1x1 expansion by 6, 3x3 depthwise, 1x1 projection; the input is added if it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 6 * inputs
        self.expand, self.expand_bn = conv_bn(inputs, wide, 1)
        self.expand_act = nn.ReLU6()
        self.depthwise, self.depthwise_bn = conv_bn(wide, wide, 3, stride, wide)
        self.depthwise_act = nn.ReLU6()
        self.project, self.project_bn = conv_bn(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.expand_act(self.expand_bn(self.expand(x)))
        y = self.depthwise_act(self.depthwise_bn(self.depthwise(y)))
        y = self.project_bn(self.project(y))
        return x + y if self.residual else y

    def folded(self) -> Block:
        """The same function with each BatchNorm inside its convolution."""
        twin = Block.__new__(Block)
        nn.Module.__init__(twin)
        for name in ("expand", "depthwise", "project"):
            setattr(twin, name, fuse_conv_bn_eval(getattr(self, name), getattr(self, f"{name}_bn")))
            setattr(twin, f"{name}_bn", nn.Identity())
        twin.expand_act, twin.depthwise_act = self.expand_act, self.depthwise_act
        twin.residual = self.residual
        return twin.eval()


def light_gesture_net() -> nn.Sequential:
    """The network; its names become those of the ONNX nodes and tensors. (N, 1, 96, 96) to (N, 8)."""
    stem, stem_bn = conv_bn(1, 16, 3, stride=2)
    net = nn.Sequential(
        OrderedDict(
            stem=stem,
            stem_bn=stem_bn,
            stem_act=nn.ReLU6(),
            block0=Block(16, 24, stride=2),
            block1=Block(24, 24, stride=1),
            block2=Block(24, 32, stride=2),
            block3=Block(32, 32, stride=1),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(32, len(CLASSES)),
        )
    )
    training.expect_parameters(net, TRAINABLE_PARAMETERS)
    return net.to(memory_format=torch.channels_last)  # half the time on a CPU


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """Another photograph of the same hand: turned, nearer, shifted, in other light; never mirrored.

    Rotation up to 25 degrees, scale 0.8 to 1.25, shear up to 0.15, shift up to 12 % (the border goes on),
    contrast 0.6 to 1.4, brightness up to 0.2, noise of 0.02.
    """
    count = len(x)
    uniform = partial(training.uniform, count, generator=generator)

    angle, shear, scale = uniform(math.radians(25)), uniform(0.15), torch.exp(uniform(math.log(1.25)))
    theta = torch.empty(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale * angle.cos(), -scale * (angle + shear).sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale * angle.sin(), scale * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(0.24), uniform(0.24)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    moved = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    middle = moved.mean(dim=(1, 2, 3), keepdim=True)
    contrast, light = (1 + uniform(0.4)).view(-1, 1, 1, 1), uniform(0.2).view(-1, 1, 1, 1)
    noise = torch.randn(moved.shape, generator=generator) * 0.02
    return ((moved - middle) * contrast + middle + light + noise).clamp(0, 1)


def folded(model: nn.Sequential) -> nn.Sequential:
    """The evaluation form: BatchNorm inside the convolutions, with the same names."""
    layers: list[tuple[str, nn.Module]] = [("stem", fuse_conv_bn_eval(model.stem, model.stem_bn))]
    rest: Iterable[tuple[str, nn.Module]] = list(model.named_children())[2:]
    layers += [(name, layer.folded() if isinstance(layer, Block) else layer) for name, layer in rest]
    return nn.Sequential(OrderedDict(layers)).eval()


def main() -> int:
    """Train, measure on the test images, export; exit status 1 below --floor."""
    given = training.options(
        __doc__.splitlines()[0], data="sign_digits_96.npz", folder=HERE, epochs=80, floor=0.95
    )
    kept = {"classes": CLASSES, "test_images": read_digests(HERE / "test_images.txt")}
    known, unseen = (load_split(given.data, part, **kept) for part in ("train", "test"))
    model = training.fit(
        light_gesture_net,
        training.to_float(known.images),
        torch.from_numpy(known.labels),
        vary=jitter,
        schedule=training.Schedule(
            epochs=given.epochs, seed=given.seed, batch=32, peak_rate=6e-3, weight_decay=2e-2, average=0.995
        ),
    ).to(memory_format=torch.contiguous_format)
    answers = training.logits(model, training.to_float(unseen.images)).argmax(1)
    accuracy = Accuracy(correct=int((answers == unseen.labels).sum()), total=len(unseen.labels))
    print(f"top-1 on the test images: {accuracy.summary}")
    return training.finish(folded(model), accuracy.share, 96, given)


if __name__ == "__main__":
    raise SystemExit(main())
