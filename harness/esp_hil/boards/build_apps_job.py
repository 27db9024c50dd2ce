"""Builds one application with idf-build-apps: a program for ESP-IDF's Python, which has no other part of this package.

python build_apps_job.py '{"app_dir": ..., "target": ..., "build_dir": ..., "cmake_vars": {...}}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(order: str) -> int:
    """Build it; its output goes to standard output, 1 if it failed."""
    # Python puts this file's folder first, and select.py beside it is not the standard library's
    del sys.path[0]
    from idf_build_apps import CMakeApp
    from idf_build_apps.constants import BuildStatus

    given = json.loads(order)
    # idf-build-apps removes it; it is the user's, from `idf.py menuconfig`, and no part of this build
    configuration = Path(given["app_dir"]) / "sdkconfig"
    kept = configuration.read_bytes() if configuration.is_file() else None
    app = CMakeApp(**given)
    try:
        app.build()
    finally:
        if kept is not None:
            configuration.write_bytes(kept)
    if app.build_status is not BuildStatus.SUCCESS:
        print(f"idf-build-apps: {app.build_status.value}: {app.build_comment}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
