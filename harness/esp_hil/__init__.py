"""esp-hil: hardware-in-the-loop tests and benchmarks for neural networks on ESP32 chips."""

__version__ = "0.1.0"
