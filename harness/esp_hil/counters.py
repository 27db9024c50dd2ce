"""The counters of a device: one list for firmware, virtual boards, suites and reports.

INFO names a device's own counters, so that firmware may have more of them than this list; but a counter that
the harness reads by name, or that two engines both have, has one name, and it stands here. The test of this
module reads the firmware's sources and docs/FIRMWARE.md, and fails where either has another name or unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

HEAP_INTERNAL_FREE: Final = "heap_internal_free_bytes"
HEAP_PSRAM_FREE: Final = "heap_psram_free_bytes"
ARENA: Final = "arena_bytes"
ARENA_INTERNAL: Final = "arena_internal_bytes"
ARENA_PSRAM: Final = "arena_psram_bytes"
PARAMETERS_FLASH: Final = "parameters_flash_bytes"
PARAMETERS_COPIED_INTERNAL: Final = "parameters_copied_internal_bytes"
PARAMETERS_COPIED_PSRAM: Final = "parameters_copied_psram_bytes"
MODEL_FLASH: Final = "model_flash_bytes"

CLOCK_CYCLES: Final = "clock_cycles"
CLOCK_TIMER: Final = "clock_timer_us"

BYTES: Final = "bytes"
COUNT: Final = "1"

COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        HEAP_INTERNAL_FREE: BYTES,
        "heap_internal_minimum_bytes": BYTES,
        "heap_internal_largest_bytes": BYTES,
        HEAP_PSRAM_FREE: BYTES,
        "heap_psram_minimum_bytes": BYTES,
        "heap_psram_largest_bytes": BYTES,
        "stack_server_left_bytes": BYTES,
        "stack_engine_left_bytes": BYTES,
        "log_lines_dropped": COUNT,
        CLOCK_CYCLES: "cycles",
        CLOCK_TIMER: "us",
        ARENA: BYTES,
        ARENA_INTERNAL: BYTES,
        ARENA_PSRAM: BYTES,
        "arena_activations_bytes": BYTES,
        "arena_persistent_bytes": BYTES,
        PARAMETERS_FLASH: BYTES,
        "parameters_psram_bytes": BYTES,
        PARAMETERS_COPIED_INTERNAL: BYTES,
        PARAMETERS_COPIED_PSRAM: BYTES,
        "model_internal_bytes": BYTES,
        "model_psram_bytes": BYTES,
        MODEL_FLASH: BYTES,
        "link_frames_received": "frames",
        "link_frames_sent": "frames",
        "link_noise_segments": COUNT,
        "link_noise_bytes": BYTES,
        "link_text_bytes": BYTES,
        "link_repeated_requests": COUNT,
        "link_gaps": COUNT,
        "link_data_received": BYTES,
        "link_data_duplicate": BYTES,
        "link_data_dropped": BYTES,
        "link_data_sent": BYTES,
        "link_data_resent": BYTES,
        "link_logs_dropped": COUNT,
        "runs": COUNT,
    }
)
"""Unit of each counter by name; docs/FIRMWARE.md says what they count."""
