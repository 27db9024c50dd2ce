"""`python -m harness.virtual`: the same as `hil virtual`."""

from __future__ import annotations

import argparse
import sys

from harness.errors import HilError
from harness.virtual.arguments import HELP, add_arguments, run


def main() -> int:
    """Run a virtual board until it is told to quit."""
    parser = argparse.ArgumentParser(prog="python -m harness.virtual", description=HELP)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except HilError as error:
        print(f"hil virtual: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
