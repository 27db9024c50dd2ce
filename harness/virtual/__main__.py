"""`python -m harness.virtual`: the same as `hil virtual`."""

from __future__ import annotations

import argparse
import sys

from harness.commands import virtual
from harness.errors import HilError


def main() -> int:
    """Run a virtual board until it is told to quit."""
    parser = argparse.ArgumentParser(prog="python -m harness.virtual", description=virtual.HELP)
    virtual.add_arguments(parser)
    try:
        return virtual.run(parser.parse_args())
    except HilError as error:
        print(f"hil virtual: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
