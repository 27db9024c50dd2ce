"""The exact reference: an `.espdl` graph as ONNX arithmetic that gives the chip's integers."""

from esp_hil.exact.filters import Kernels
from esp_hil.exact.lower import Lowered, NotBatchable, lower
from esp_hil.exact.proof import Headroom, Proof
from esp_hil.exact.reference import ExactReference
from esp_hil.exact.save import save_onnx

__all__ = [
    "ExactReference",
    "Headroom",
    "Kernels",
    "Lowered",
    "NotBatchable",
    "Proof",
    "lower",
    "save_onnx",
]
