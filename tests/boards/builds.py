"""Build folders as idf.py leaves them, and an ESP-IDF that makes them: for tests, in a temporary folder."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path
from textwrap import dedent

FACTORY = (0x10000, 0x180000)
MODEL = (0x190000, 0x270000)


def partition_table() -> bytes:
    """The binary form of factory and model for 4 MB of flash."""
    rows = b"".join(
        struct.pack("<2sBBII16sI", b"\xaa\x50", kind, subtype, offset, size, name, 0)
        for name, kind, subtype, (offset, size) in (
            (b"factory", 0, 0, FACTORY),
            (b"model", 1, 0x82, MODEL),
        )
    )
    md5 = hashlib.md5(rows, usedforsecurity=False).digest()
    return (rows + b"\xeb\xeb" + b"\xff" * 14 + md5).ljust(0xC00, b"\xff")


def application(code: bytes, elf: bytes, *, version: str = "0.1.0", idf: str = "v5.3.5") -> bytes:
    """An application image: header, first segment's header, description, code."""
    description = struct.pack(
        "<II8x32s32s16s16s32s32s80x",
        0xABCD5432,
        0,
        version.encode(),
        b"esp_hil",
        b"",
        b"",
        idf.encode(),
        hashlib.sha256(elf).digest(),
    )
    return b"\xe9".ljust(0x20, b"\0") + description + code


def make_build_folder(
    folder: Path,
    *,
    target: str = "esp32c3",
    code: bytes = b"code",
    config: dict[str, object] | None = None,
) -> Path:
    """A complete build folder of 4 MB flash; returns it."""
    for name in ("bootloader", "partition_table", "config"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    elf = b"\x7fELF" + code
    (folder / "esp_hil.elf").write_bytes(elf)
    (folder / "esp_hil.bin").write_bytes(application(code, elf))
    (folder / "bootloader" / "bootloader.bin").write_bytes(b"\xe9loader" + code[:1])
    (folder / "partition_table" / "partition-table.bin").write_bytes(partition_table())
    values = {"IDF_TARGET": target, "ESPTOOLPY_FLASHSIZE": "4MB", **(config or {})}
    (folder / "config" / "sdkconfig.json").write_text(json.dumps(values))
    files = {
        "0x0": "bootloader/bootloader.bin",
        "0x10000": "esp_hil.bin",
        "0x8000": "partition_table/partition-table.bin",
    }
    names = {"0x0": "bootloader", "0x10000": "app", "0x8000": "partition-table"}
    arguments = {
        "flash_settings": {"flash_mode": "dio", "flash_size": "4MB", "flash_freq": "80m"},
        "flash_files": files,
        **{names[offset]: {"offset": offset, "file": file} for offset, file in files.items()},
    }
    (folder / "flasher_args.json").write_text(json.dumps(arguments))
    return folder


FAKE_IDF = """
    import os, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from tests.boards.builds import make_build_folder

    given = sys.argv[1:]
    folder = Path(given[given.index("-B") + 1])
    defined = dict(option[2:].split("=", 1) for option in given if option.startswith("-D"))
    with open({calls!r}, "a") as calls:
        calls.write(" ".join(given) + "\\n")
    if Path({fail!r}).exists():
        print("[7/432] Building CXX object x.obj")
        print(Path({fail!r}).read_text())
        sys.exit(2)
    if Path(defined["SDKCONFIG"]).exists():
        sys.exit("an old configuration was left")
    Path(defined["SDKCONFIG"]).write_text("CONFIG_A=y\\n")
    for step in (1, 216, 432):
        print(f"[{{step}}/432] Building CXX object x.obj", flush=True)
    make_build_folder(folder, target=defined["IDF_TARGET"], code=defined["HIL_PROFILE"].encode())
"""


class FakeIdf:
    """An ESP-IDF in a folder: version, idf.py, Python environment and one compiler.

    Attributes:
        path: its folder.
        environ: what an activated shell has.
        fail: write idf.py's last words there to make it fail.
    """

    def __init__(self, folder: Path, root: Path, *, version: tuple[int, int, int] = (5, 3, 5)) -> None:
        self.path = folder / "esp-idf"
        self.fail = folder / "fail"
        self._calls = folder / "calls"
        python_env, tools = folder / "python", folder / "tools"
        for path in (self.path / "tools" / "cmake", python_env / "bin", tools):
            path.mkdir(parents=True)
        names = zip(("MAJOR", "MINOR", "PATCH"), version, strict=True)
        text = "".join(f"set(IDF_VERSION_{name} {number})\n" for name, number in names)
        (self.path / "tools" / "cmake" / "version.cmake").write_text(text)
        script = dedent(FAKE_IDF).format(root=str(root), calls=str(self._calls), fail=str(self.fail))
        (self.path / "tools" / "idf.py").write_text(script)
        (python_env / "bin" / "python").symlink_to(sys.executable)
        self.compiler = tools / "riscv32-esp-elf-gcc"
        self.set_compiler("riscv32-esp-elf-gcc 13.2.0")
        self.environ = {
            "IDF_PATH": str(self.path),
            "IDF_PYTHON_ENV_PATH": str(python_env),
            "PATH": f"{tools}:/usr/bin:/bin",
        }

    def set_compiler(self, version: str) -> None:
        """Make the compiler say that version."""
        self.compiler.write_text(f"#!/bin/sh\necho '{version}'\n")
        self.compiler.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """The command lines of idf.py so far."""
        return self._calls.read_text().splitlines() if self._calls.exists() else []
