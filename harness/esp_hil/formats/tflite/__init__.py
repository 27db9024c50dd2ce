"""TensorFlow Lite Micro: read `.tflite` files, run them with TFLM's own kernels, make them from ONNX."""

from esp_hil.formats.tflite.model import Operator, Tensor, TfliteModel
from esp_hil.formats.tflite.reader import is_tflite, read_tflite

__all__ = ["Operator", "Tensor", "TfliteModel", "is_tflite", "read_tflite"]
