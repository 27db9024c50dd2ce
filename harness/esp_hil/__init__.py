"""esp-hil: hardware-in-the-loop tests and benchmarks for neural networks on ESP32 chips."""

import logging

__version__ = "0.1.0"

# a program that does not ask for the log sees none of it
logging.getLogger(__name__).addHandler(logging.NullHandler())
