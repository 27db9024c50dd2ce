"""The exact reference: an `.espdl` graph as ONNX arithmetic that gives the chip's integers."""

from harness.espdl.exact.filters import Reading
from harness.espdl.exact.lower import Lowered, NotBatchable, lower
from harness.espdl.exact.proof import Proof
from harness.espdl.exact.reference import ExactReference
from harness.espdl.exact.saturation import Headroom
from harness.espdl.exact.save import save_onnx

__all__ = [
    "ExactReference",
    "Headroom",
    "Lowered",
    "NotBatchable",
    "Proof",
    "Reading",
    "lower",
    "save_onnx",
]
