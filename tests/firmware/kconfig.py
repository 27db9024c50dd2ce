"""ESP-IDF's own Kconfig on the firmware's fragments, without a compiler or a build.

HIL_IDFS names folders of ESP-IDF (their `components`, `tools` and `Kconfig` are enough), separated as in PATH;
HIL_KCONFIG_PYTHON an interpreter that has esp-idf-kconfig, the one of ESP-IDF's Python environment for example.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from esp_hil.esp.idf import version_of

ASK_SECONDS = 120


def idfs() -> list[Path]:
    """The folders of ESP-IDF at hand."""
    return [Path(name) for name in os.environ.get("HIL_IDFS", "").split(os.pathsep) if name]


def version(idf: Path) -> tuple[int, ...]:
    """Of an ESP-IDF, as numbers."""
    return tuple(map(int, (version_of(idf) or "0").split(".")))


def targets(idf: Path) -> list[str]:
    """The chips that an ESP-IDF can build for, previews included."""
    text = (idf / "tools" / "idf_py_actions" / "constants.py").read_text(encoding="utf-8")
    return re.findall(r"'(esp32\w*)'", text.partition("TOOLCHAIN")[0])


def configure(
    idf: Path, target: str, profile: Sequence[str], firmware: Path, work: Path
) -> tuple[dict[str, bool | int | str], str]:
    """What a build's configuration would be, and what Kconfig said."""
    work.mkdir(parents=True, exist_ok=True)
    components = [path for path in sorted((idf / "components").iterdir()) if path.is_dir()]
    kconfigs = [path / "Kconfig" for path in components if (path / "Kconfig").is_file()]
    projbuilds = [path / "Kconfig.projbuild" for path in components if (path / "Kconfig.projbuild").is_file()]
    projbuilds.append(firmware / "main" / "Kconfig.projbuild")
    environment = {
        "IDF_TARGET": target,
        "IDF_TOOLCHAIN": "gcc",
        "IDF_VERSION": ".".join(map(str, version(idf))),
        "IDF_INIT_VERSION": ".".join(map(str, version(idf))),
        "IDF_ENV_FPGA": "",
        "IDF_PATH": str(idf),
        "COMPONENT_KCONFIGS": ";".join(map(str, kconfigs)),
        "COMPONENT_KCONFIGS_PROJBUILD": ";".join(map(str, projbuilds)),
        "COMPONENT_KCONFIGS_EXCLUDED": "",
        "COMPONENT_KCONFIGS_PROJBUILD_EXCLUDED": "",
    }
    for name, files in (("kconfigs", kconfigs), ("kconfigs_projbuild", projbuilds)):
        source = work / f"{name}.in"
        source.write_text("".join(f'source "{file}"\n' for file in files), encoding="utf-8")
        environment[f"COMPONENT_{name.upper()}_SOURCE_FILE"] = str(source)
    for name in ("COMPONENT_KCONFIGS_EXCLUDED", "COMPONENT_KCONFIGS_PROJBUILD_EXCLUDED"):
        empty = work / f"{name.lower()}.in"
        empty.write_text("", encoding="utf-8")
        environment[f"{name}_SOURCE_FILE"] = str(empty)
    (work / "config.env").write_text(json.dumps(environment), encoding="utf-8")
    out = work / "sdkconfig.json"
    options = [
        "--kconfig", str(idf / "Kconfig"),
        "--config", str(work / "sdkconfig"),
        "--env-file", str(work / "config.env"),
        "--output", "config", str(work / "sdkconfig"),
        "--output", "json", str(out),
    ]  # fmt: skip
    for defaults in fragments(firmware, target, profile):
        options += ["--defaults", str(defaults)]
    python = os.environ.get("HIL_KCONFIG_PYTHON", "python3")
    done = subprocess.run(
        [python, "-m", "kconfgen", *options],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=ASK_SECONDS,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    values: dict[str, bool | int | str] = json.loads(out.read_text(encoding="utf-8"))
    return values, said


def fragments(firmware: Path, target: str, profile: Sequence[str]) -> list[Path]:
    """The files of defaults in the order in which ESP-IDF reads them: of each also what is for the chip alone."""
    names = [firmware / "sdkconfig.defaults", *(firmware / "profiles" / name for name in profile)]
    both = [each for name in names for each in (name, name.with_name(f"{name.name}.{target}"))]
    return [path for path in both if path.is_file()]
