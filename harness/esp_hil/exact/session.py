"""Opening onnxruntime sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


_REWRITES = ["DivMulFusion"]
"""Rewrites of onnxruntime that replace two roundings by one, not to be made.

Graphs are built so that none of them finds anything, because a saved graph is opened by others; this is the belt to
those braces. The recorded answers (tests/exact/test_simd_vectors.py) are computed with all others on.
"""


def open_session(model: bytes | Path, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU, silent unless something is wrong; `threads` 0: one per core.

    Raises:
        FileNotFoundError: the file is gone.
    """
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NoSuchFile

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"], disabled_optimizers=_REWRITES
        )
    except NoSuchFile as error:
        raise FileNotFoundError(source) from error
