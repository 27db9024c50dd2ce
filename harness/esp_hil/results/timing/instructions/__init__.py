"""Instructions that ESP-DL's SIMD kernels execute for each node of a model, by formulas.

`dispatch` tells which kernels a node calls and with what shapes, `kernels` what one call costs, `copies` what
a memory copy costs. What ESP-DL does in C++ is not counted here but estimated in `esp_hil.results.timing.cost`.
"""

from esp_hil.results.timing.instructions.dispatch import KernelCalls, kernel_calls, simd_chip

__all__ = ["KernelCalls", "kernel_calls", "simd_chip"]
