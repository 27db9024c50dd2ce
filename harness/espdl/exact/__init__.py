"""The exact reference: an `.espdl` graph lowered to ONNX arithmetic that gives the chip's integers, run by onnxruntime."""

from harness.espdl.exact.lower import Lowered, can_batch, lower
from harness.espdl.exact.proof import Proof
from harness.espdl.exact.reference import ExactReference

__all__ = ["ExactReference", "Lowered", "Proof", "can_batch", "lower"]
