"""A virtual board with ESP-NN's kernels answers as an ESP32-S3 does, and the search names the fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.errors import ConfigError
from esp_hil.exact.tflite import TflmReference
from esp_hil.formats.tflite import read_tflite
from esp_hil.targets import target
from esp_hil.verdict.diverge import Divergence, find
from esp_hil.virtual.faults import EngineFaults, parse_plan
from esp_hil.virtual.tflm_engine import TflmEngine
from tests.formats.tflite.graphs import Graph, Graphs
from tests.formats.tflite.networks import needs_tflm

pytestmark = needs_tflm

STRIDE_2 = {"strideW": 2, "strideH": 2, "dilationWFactor": 1, "dilationHFactor": 1, "padding": 0}
ONE = (0.05, 3)


class Net:
    """An int8 net that grows from input x; every layer has weights of its own from one seed."""

    def __init__(self, *shape: int) -> None:
        self.file = Graphs()
        self.graph: Graph = self.file.graph("main")
        self.generator = np.random.default_rng(0)
        self.given = self.last = self.graph.tensor("x", shape, "INT8", quantized=ONE)
        self.shape = shape

    def made(self, name: str, *shape: int) -> int:
        self.shape = shape
        return self.graph.tensor(name, shape, "INT8", quantized=ONE)

    def weights(self, name: str, *shape: int) -> int:
        values = self.generator.integers(-127, 128, shape, np.int8)
        return self.graph.tensor(f"{name}.w", shape, "INT8", values, quantized=(0.004, 0))

    def bias(self, name: str, count: int) -> int:
        values = self.generator.integers(-2000, 2000, count, np.int32)
        return self.graph.tensor(f"{name}.b", (count,), "INT32", values, quantized=(0.0002, 0))

    def conv(self, name: str, channels: int, *, taps: int = 3) -> Net:
        _, height, width, into = self.shape
        inputs = [self.last, self.weights(name, channels, taps, taps, into), self.bias(name, channels)]
        self.last = self.made(name, 1, -(-height // 2), -(-width // 2), channels)
        self.graph.operator("CONV_2D", inputs, [self.last], "Conv2DOptions", **STRIDE_2)
        return self

    def depthwise(self, name: str, taps: int) -> Net:
        _, height, width, channels = self.shape
        inputs = [self.last, self.weights(name, 1, taps, taps, channels), self.bias(name, channels)]
        self.last = self.made(name, 1, -(-height // 2), -(-width // 2), channels)
        self.graph.operator(
            "DEPTHWISE_CONV_2D", inputs, [self.last], "DepthwiseConv2DOptions", depthMultiplier=1, **STRIDE_2
        )
        return self

    def pool(self, name: str, kind: str, *, relu: bool = False) -> Net:
        _, height, width, channels = self.shape
        before, self.last = self.last, self.made(name, 1, -(-height // 2), -(-width // 2), channels)
        window = {"strideW": 2, "strideH": 2, "filterWidth": 3, "filterHeight": 3, "padding": 0}
        self.graph.operator(
            f"{kind}_POOL_2D",
            [before],
            [self.last],
            "Pool2DOptions",
            fusedActivationFunction=int(relu),
            **window,
        )
        return self

    def squared(self, name: str) -> Net:
        before, self.last = self.last, self.made(name, *self.shape)
        self.graph.operator("MUL", [before, before], [self.last], "MulOptions")
        return self

    def dense(self, name: str, features: int) -> Net:
        rows, into = self.shape
        inputs = [self.last, self.weights(name, features, into), self.bias(name, features)]
        self.last = self.made(name, rows, features)
        self.graph.operator("FULLY_CONNECTED", inputs, [self.last], "FullyConnectedOptions")
        return self

    def softmax(self, name: str) -> Net:
        before, self.last = (
            self.last,
            self.graph.tensor(name, self.shape, "INT8", quantized=(1 / 256, -128)),
        )
        self.graph.operator("SOFTMAX", [before], [self.last], "SoftmaxOptions", beta=1.0)
        return self

    def image(self) -> bytes:
        self.graph.ends([self.given], [self.last])
        return self.file.image()


NETS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "esp-nn#31": ("CONV_2D", lambda: Net(1, 5, 6, 8).conv("a", 8).squared("b").image()),
    "conv behind another": ("CONV_2D", lambda: Net(1, 10, 12, 8).conv("a", 8).conv("b", 8).image()),
    "ESP-NN average-pool-pitch": ("AVERAGE_POOL_2D", lambda: Net(1, 8, 14, 8).pool("a", "AVERAGE").image()),
    "ESP-NN max-pool-minimum": (
        "MAX_POOL_2D",
        lambda: Net(1, 6, 6, 8).conv("c", 12).pool("a", "MAX", relu=True).image(),
    ),
    "esp-nn#34": ("FULLY_CONNECTED", lambda: Net(3, 20).dense("a", 6).image()),
    "ESP-NN softmax-window": ("SOFTMAX", lambda: Net(8, 35).softmax("a").image()),
    "ESP-NN depthwise-tiled-padding": (
        "DEPTHWISE_CONV_2D",
        lambda: Net(1, 57, 57, 8).depthwise("a", 5).pool("p", "MAX").image(),
    ),
}


def engine(image: bytes, kernels: str, chip: str = "esp32s3") -> TflmEngine:
    made = TflmEngine(target(chip), EngineFaults(kernels=kernels), lambda number: None)
    made.load(image, location=0, path="", cores=1, options=0)
    return made


def search(image: bytes, kernels: str, chip: str = "esp32s3") -> Divergence | None:
    """Run it once and look for the first wrong tensor; None if all is right."""
    model, reference, board = read_tflite(image), TflmReference(image), engine(image, kernels, chip)
    (given,) = model.input_tensors
    x = np.random.default_rng(1).integers(-128, 128, given.shape, np.int8)
    exact = reference.run_all({"x": x})
    name = reference.tensor_names[-1]

    def answer(tensor: str) -> bytes | None:
        return board.run([x.tobytes()], cores=1, capture=tensor, profile=False).captured

    try:
        output = np.frombuffer(
            board.run([x.tobytes()], cores=1, capture=None, profile=False).outputs[0], np.int8
        )
        if np.array_equal(output, exact[name].reshape(-1)):
            return None
        return find(model, "tflm", {"x": x}, exact, answer, wrong=[name])  # type: ignore[arg-type]
    finally:
        board.unload()
        reference.close()


@pytest.mark.parametrize("label", NETS)
def test_the_search_names_the_fault_of_esp_nn(label: str) -> None:
    operator, build = NETS[label]
    found = search(build(), "esp-nn 1.2.3")
    assert found is not None
    assert found.node is not None
    assert found.node.op_type == operator
    diagnosis = found.diagnosis
    assert (diagnosis.kind, diagnosis.certain) == ("known fault", True), diagnosis.summary
    assert ("esp-nn#31" if "conv" in label else label) in diagnosis.summary
    assert "esp-nn-off" in diagnosis.summary


@pytest.mark.parametrize(
    ("kernels", "chip"), [("", "esp32s3"), ("esp-nn 1.2.4", "esp32s3"), ("esp-nn 1.2.3", "esp32c3")]
)
def test_without_the_fault_the_board_answers_as_the_reference(kernels: str, chip: str) -> None:
    assert search(NETS["esp-nn#31"][1](), kernels, chip) is None


@pytest.fixture
def board() -> Iterator[TflmEngine]:
    made = engine(NETS["esp-nn#31"][1](), "esp-nn 1.2.3")
    yield made
    made.unload()


def test_the_board_tells_esp_nn_in_its_version_as_the_firmware_does(board: TflmEngine) -> None:
    assert board.version.endswith(" esp-nn 1.2.3 optimized")


def test_the_wrong_integers_are_those_of_the_kernel(board: TflmEngine) -> None:
    """The trailing column by hand: of SAME padding (0 before, 1 behind) of a row the last pixel is missing."""
    x: NDArray[np.int8] = np.zeros((1, 5, 6, 8), np.int8)
    reference = TflmReference(NETS["esp-nn#31"][1]())
    right = reference.run_all({"x": x})["a"]
    reference.close()
    got = np.frombuffer(
        board.run([x.tobytes()], cores=1, capture="a", profile=False).captured or b"", np.int8
    )
    wrong = np.argwhere(got.reshape(right.shape) != right)
    assert len(wrong)
    assert set(wrong[:, 2]) == {2}


@pytest.mark.parametrize("kernels", ["esp-nn", "cmsis 1.0", "esp-nn newest"])
def test_a_plan_with_other_kernels_is_refused(kernels: str) -> None:
    with pytest.raises(ConfigError):
        parse_plan({"engine": {"kernels": kernels}})
    assert parse_plan({"engine": {"kernels": "esp-nn 1.2.3"}}).engine.kernels == "esp-nn 1.2.3"
