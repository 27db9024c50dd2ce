"""Small networks of the kinds that people bring, made by torch from a seed: what `hil new` is tried on.

Nothing is trained: how a network computes does not depend on how its weights came about, and random ones use more of
the range than trained ones do. Each is what torch.onnx.export writes, with nothing made easier.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

SEED = 17
OPSET = 18
GOLDEN = 24
CALIBRATION = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network.

    Attributes:
        build: makes the torch module.
        inputs: shape of each input, with the batch of 1.
        outputs: names, in the module's order.
        meanings: of outputs, where they are not guessed right.
        steps: above 0: inputs are steps of a stream, the last outputs' values are fed to the last input in the float
            model, and golden inputs are so many steps.
        fed: whether `hil new --state` is told so; else the last input's values are given like the others'.
    """

    build: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Sequence[str]
    meanings: Mapping[str, str]
    steps: int = 0
    fed: bool = False


def _sequential(*parts: Any) -> nn.Module:
    from torch import nn

    return nn.Sequential(*parts)


def _module(forward: Callable[..., Any], **parts: Any) -> nn.Module:
    """A module with the given parts, whose forward is a function of it and its inputs."""
    import torch
    from torch import nn

    def begin(self: Any) -> None:
        nn.Module.__init__(self)
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, torch.Tensor) else part)

    # no class statement: where torch is not installed its classes are unknown to the type checker
    made: nn.Module = type("Made", (nn.Module,), {"__init__": begin, "forward": forward})()
    return made


def _fusion() -> nn.Module:
    """A picture and eight sensors to five classes."""
    import torch
    from torch import nn
    from torch.nn import functional as f

    def forward(self: Any, image: Any, sensors: Any) -> Any:
        seen = f.relu(self.second(f.relu(self.first(image)))).flatten(1)
        return self.out(torch.cat([seen, f.relu(self.sensors(sensors))], 1))

    return _module(
        forward,
        first=nn.Conv2d(1, 8, 3, 2, 1),
        second=nn.Conv2d(8, 8, 3, 2, 1),
        sensors=nn.Linear(8, 16),
        out=nn.Linear(8 * 16 + 16, 5),
    )


def _two_heads() -> nn.Module:
    """A picture to a class and a pose."""
    from torch import nn

    def forward(self: Any, image: Any) -> Any:
        seen = self.body(image)
        return self.kind(seen), self.pose(seen)

    body = _sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten()
    )
    return _module(forward, body=body, kind=nn.Linear(1024, 4), pose=nn.Linear(1024, 2))


def _keywords() -> nn.Module:
    """One-dimensional convolutions, one of them by depth, over 49 frames of 10 coefficients."""
    from torch import nn

    def forward(self: Any, mfcc: Any) -> Any:
        return self.out(self.body(mfcc).mean(2))

    body = _sequential(
        nn.Conv1d(10, 24, 5, 1, 2), nn.ReLU(),
        nn.Conv1d(24, 24, 3, 2, 1, groups=24), nn.ReLU(),
        nn.Conv1d(24, 32, 1), nn.ReLU(),
        nn.Conv1d(32, 32, 3, 2, 1), nn.ReLU(),
    )  # fmt: skip
    return _module(forward, body=body, out=nn.Linear(32, 12))


def _cached() -> nn.Module:
    """A dilated convolution over a stream, a frame at a time: earlier frames come in as a cache and go out as one."""
    import torch
    from torch import nn
    from torch.nn import functional as f

    def forward(self: Any, frame: Any, cache: Any) -> Any:
        window = torch.cat([cache, f.relu(self.first(frame))], 2)
        return self.out(f.relu(self.second(window))), window[:, :, 1:]

    return _module(
        forward,
        first=nn.Conv1d(8, 16, 1),
        second=nn.Conv1d(16, 16, 3, dilation=2),
        out=nn.Conv1d(16, 4, 1),
    )


def _autoencoder() -> nn.Module:
    from torch import nn

    return _sequential(
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, 8),
        nn.ReLU(),
        nn.Linear(8, 32),
        nn.ReLU(),
        nn.Linear(32, 64),
    )


def _landmarks() -> nn.Module:
    """Five points of a gray picture, 0..1."""
    from torch import nn

    return _sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU6(),
        nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10), nn.Sigmoid(),
    )  # fmt: skip


def _unet() -> nn.Module:
    """Two levels, one enlarged by Resize, one by a transposed convolution; three classes a pixel."""
    import torch
    from torch import nn
    from torch.nn import functional as f

    def forward(self: Any, image: Any) -> Any:
        high = f.relu(self.down1(image))
        low = f.relu(self.down2(f.max_pool2d(high, 2)))
        middle = f.relu(self.middle(f.max_pool2d(low, 2)))
        up = f.relu(self.up2(torch.cat([f.interpolate(middle, scale_factor=2, mode="nearest"), low], 1)))
        return self.out(f.relu(self.up1(torch.cat([self.enlarge(up), high], 1))))

    return _module(
        forward,
        down1=nn.Conv2d(3, 8, 3, 1, 1),
        down2=nn.Conv2d(8, 16, 3, 1, 1),
        middle=nn.Conv2d(16, 16, 3, 1, 1),
        up2=nn.Conv2d(32, 8, 3, 1, 1),
        enlarge=nn.ConvTranspose2d(8, 8, 2, 2),
        up1=nn.Conv2d(16, 8, 3, 1, 1),
        out=nn.Conv2d(8, 3, 1),
    )


def _transformer() -> nn.Module:
    """Embedding, places, a block of torch's own layer (normalized first, GELU), mean, classes."""
    import torch
    from torch import nn

    def forward(self: Any, x: Any) -> Any:
        return self.out(self.layer(self.embed(x) + self.places).mean(1))

    return _module(
        forward,
        embed=nn.Linear(12, 32),
        places=torch.randn(1, 16, 32) * 0.1,
        layer=nn.TransformerEncoderLayer(
            32, 2, 64, batch_first=True, activation="gelu", norm_first=True, dropout=0.0
        ),
        out=nn.Linear(32, 6),
    )


def _hand_written_transformer() -> nn.Module:
    """Query, key and value by three Linears on one input, ReLU, normalized after: as people write it themselves."""
    from torch import nn

    def forward(self: Any, x: Any) -> Any:
        x = self.embed(x)
        q, k, v = (
            part(x).reshape(1, 16, 2, 16).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = ((q @ k.transpose(2, 3)) / 4.0).softmax(3) @ v
        x = self.norm1(x + self.join(seen.transpose(1, 2).reshape(1, 16, 32)))
        return self.out(self.norm2(x + self.wide(x)).mean(1))

    return _module(
        forward,
        embed=nn.Linear(12, 32),
        query=nn.Linear(32, 32),
        key=nn.Linear(32, 32),
        value=nn.Linear(32, 32),
        join=nn.Linear(32, 32),
        wide=_sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32)),
        norm1=nn.LayerNorm(32),
        norm2=nn.LayerNorm(32),
        out=nn.Linear(32, 6),
    )


def _recurrent(kind: str) -> nn.Module:
    from torch import nn

    def forward(self: Any, x: Any) -> Any:
        return self.out(self.cell(x)[0][:, -1])

    return _module(forward, cell=getattr(nn, kind)(6, 16, batch_first=True), out=nn.Linear(16, 4))


def _detector() -> nn.Module:
    """Scores and boxes for each place of a 16x16 grid."""
    from torch import nn

    def forward(self: Any, image: Any) -> Any:
        seen = self.body(image)
        return self.score(seen).sigmoid(), self.box(seen)

    body = _sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
    return _module(forward, body=body, score=nn.Conv2d(16, 2, 3, 1, 1), box=nn.Conv2d(16, 4, 3, 1, 1))


def _sensors() -> nn.Module:
    from torch import nn

    return _sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))


NETWORKS: Mapping[str, Network] = {
    "sensors": Network(build=_sensors, inputs={"sensors": (1, 6)}, outputs=["y"], meanings={}),
    "fusion": Network(
        build=_fusion, inputs={"image": (1, 1, 16, 16), "sensors": (1, 8)}, outputs=["logits"], meanings={}
    ),
    "two_heads": Network(
        build=_two_heads,
        inputs={"image": (1, 3, 32, 32)},
        outputs=["kind", "pose"],
        meanings={"kind": "scores"},
    ),
    "keywords": Network(build=_keywords, inputs={"mfcc": (1, 10, 49)}, outputs=["word"], meanings={}),
    "cached": Network(
        build=_cached,
        inputs={"frame": (1, 8, 1), "cache": (1, 16, 4)},
        outputs=["y", "next_cache"],
        meanings={"next_cache": "raw"},
        steps=50,
    ),
    "streaming": Network(
        build=_cached,
        inputs={"frame": (1, 8, 1), "cache": (1, 16, 4)},
        outputs=["y", "next_cache"],
        meanings={},
        steps=50,
        fed=True,
    ),
    "autoencoder": Network(
        build=_autoencoder, inputs={"x": (1, 64)}, outputs=["again"], meanings={"again": "values"}
    ),
    "landmarks": Network(
        build=_landmarks, inputs={"image": (1, 1, 32, 32)}, outputs=["points"], meanings={"points": "values"}
    ),
    "unet": Network(
        build=_unet, inputs={"image": (1, 3, 64, 64)}, outputs=["mask"], meanings={"mask": "dense"}
    ),
    "transformer": Network(build=_transformer, inputs={"x": (1, 16, 12)}, outputs=["y"], meanings={}),
    "qkv": Network(build=_hand_written_transformer, inputs={"x": (1, 16, 12)}, outputs=["y"], meanings={}),
    "lstm": Network(build=lambda: _recurrent("LSTM"), inputs={"x": (1, 20, 6)}, outputs=["y"], meanings={}),
    "gru": Network(
        build=lambda: _recurrent("GRU"), inputs={"x": (1, 20, 6)}, outputs=["y"], meanings={"y": "embedding"}
    ),
    "detector": Network(
        build=_detector,
        inputs={"image": (1, 3, 64, 64)},
        outputs=["score", "box"],
        meanings={"score": "values"},
    ),
}


def export(name: str, folder: Path) -> list[str]:
    """Write NAME.onnx, its golden inputs and its calibration inputs; returns the arguments of `hil new`."""
    import torch

    network = NETWORKS[name]
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    module = network.build().eval()
    path = folder / f"{name}.onnx"
    with warnings.catch_warnings():
        # the exporter that most people's scripts use still says at each call that there is a newer one
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            tuple(torch.zeros(shape) for shape in network.inputs.values()),
            path,
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    count = network.steps or GOLDEN
    values = {
        key: smooth(i, count + CALIBRATION, shape[1:])
        for i, (key, shape) in enumerate(network.inputs.items())
    }
    *_, last = network.inputs
    if network.fed:
        del values[last]
    elif network.steps:
        values = _streamed(module, values)
    golden: dict[str, Any] = {key: array[:count] for key, array in values.items()}
    np.savez(folder / f"{name}.npz", **golden)
    arguments = ["--onnx", str(path), "--inputs", str(folder / f"{name}.npz")]
    for key, array in values.items():
        (folder / f"{name}-{key}").mkdir(exist_ok=True)
        np.save(folder / f"{name}-{key}" / "all.npy", array[count:])
        arguments += ["--calibration", f"{key}={folder / f'{name}-{key}'}"]
    for output, meaning in network.meanings.items():
        arguments += ["--meaning", f"{output}={meaning}"]
    return [*arguments, "--state", f"{last}={network.outputs[-1]}"] if network.fed else arguments


def smooth(seed: int, count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Sums of waves over the last axis, with noise: like a recording, and different each time."""
    random = np.random.default_rng(SEED + seed)
    place = np.arange(shape[-1]) / max(1, shape[-1])
    waves = random.uniform(0.5, 4, (count, *shape[:-1], 1))
    phase = random.uniform(0, 2 * np.pi, (count, *shape[:-1], 1))
    made: NDArray[np.float32] = np.sin(2 * np.pi * waves * place + phase).astype(np.float32)
    return made + random.normal(0, 0.2, made.shape).astype(np.float32)


def _streamed(module: nn.Module, values: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Replace the last input by what the float model gave as its last output in the step before, at first zeros."""
    import torch

    *names, state = values
    held = torch.zeros(1, *values[state].shape[1:])
    kept = []
    with torch.inference_mode():
        for step in range(len(values[state])):
            kept.append(held.numpy()[0])
            given = [torch.from_numpy(values[name][step : step + 1]) for name in names]
            held = module(*given, held)[-1]
    return {**values, state: np.stack(kept).astype(np.float32)}
