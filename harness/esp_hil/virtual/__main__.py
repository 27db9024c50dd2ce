"""`python -m esp_hil.virtual`: the same as `hil virtual`."""

from __future__ import annotations

import argparse
import sys

from esp_hil.errors import HilError
from esp_hil.virtual.arguments import HELP, add_arguments, run


def main() -> int:
    """Run a virtual board until it is told to quit."""
    parser = argparse.ArgumentParser(prog="python -m esp_hil.virtual", description=HELP)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except HilError as error:
        print(f"hil virtual: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
