"""The process of a virtual board: what a hand at the board can do, and how it ends.

It prints one line of JSON with its URL and ends with its parent: whoever starts it with `control` holds its
standard input, where each line is a command (reset, power_cycle, quit), and end of file means quit.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from esp_hil.virtual.loop import Loop
from esp_hil.virtual.settings import VirtualSettings

SWITCH_S = 1e-4


def serve(settings: VirtualSettings) -> None:
    """Run a virtual board until it is told to quit.

    Raises:
        HilError: the flash file or the port cannot be used.
    """
    # the engine's thread must not keep the loop waiting for the interpreter (the default is 5 ms)
    sys.setswitchinterval(SWITCH_S)
    folder = Path(tempfile.mkdtemp(prefix="hil-virtual-"))
    try:
        loop = _loop(settings, folder)
        _listen_to_signals(loop)
        if settings.control:
            threading.Thread(target=_obey_stdin, args=(loop,), daemon=True).start()
        hello = {"url": loop.port.url, "target": settings.target.name, "pid": os.getpid()}
        print(json.dumps(hello), flush=True)
        loop.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _loop(settings: VirtualSettings, folder: Path) -> Loop:
    if not settings.line:
        return Loop(settings, folder)
    from esp_hil.virtual.paced import PacedLoop, parse_model

    return PacedLoop(settings, folder, parse_model(settings.line))


def _listen_to_signals(loop: Loop) -> None:
    for name, word in (("SIGTERM", "quit"), ("SIGINT", "quit"), ("SIGUSR1", "reset")):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, lambda *_, word=word: loop.command(word))


def _obey_stdin(loop: Loop) -> None:
    for line in sys.stdin:
        loop.command(line.strip())
    loop.command("quit")


def exit_now(status: int) -> None:
    """Leave without waiting for an inference that may still run in a core that was let go."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
