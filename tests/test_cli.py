"""The command `hil` as a shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_reader_that_has_seen_enough_ends_the_command_in_silence() -> None:
    """As `hil ... | head -1`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "esp_hil.cli", "report", "--columns"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141
