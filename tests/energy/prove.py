"""The whole of what energy promises: `tox run -e proof-energy` (CI runs a sample of it in tests/energy).

    python -m tests.energy.prove --setups 200 --real 5

Random set-ups beside simulated meters, whose truth is known: PPK2 by its bytes, Joulescope by its driver's calls, INA
chips by their registers, any other by its samples, on a simulated clock; then faults, each of which must end in its
code; then some set-ups of a PPK2 behind a pty in real time. Exit status 1 if a figure is off by more than 1 %.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from esp_hil.energy.figures import Energy, EnergyCode
from esp_hil.energy.simulated import SimulatedMeter
from tests.energy.fakes import make_ina, make_joulescope, make_ppk2
from tests.energy.real_time import measured_in_real_time
from tests.energy.setups import FAULTS, MakeMeter, Setup, measured, off, quiet, random_setup

WRONG = 0.01
METERS: dict[str, MakeMeter] = {"ppk2": make_ppk2, "joulescope": make_joulescope, "simulated": SimulatedMeter}
SHARES = ("ppk2", "joulescope", "ppk2", "joulescope", "simulated")


def by_gate(setups: int, seed: int) -> Iterator[tuple[str, Setup, Energy]]:
    """PPK2 and Joulescope have two fifths each, meters of any rate the rest."""
    for number in range(setups):
        kind = SHARES[number % len(SHARES)]
        setup = random_setup(seed + number)
        yield kind, setup, measured(setup, METERS[kind])


def by_marker(setups: int, seed: int) -> Iterator[tuple[str, Setup, Energy]]:
    """Without a gate: INA chips, and meters of any rate."""
    for number in range(setups):
        setup = random_setup(seed + number, edges="marker")
        chip = ("ina219", "ina226", "ina228", "")[number % 4]
        if chip:
            supply = replace(setup.meter, supply_v=5.0)
            setup = replace(setup, meter=supply, inference_s=min(0.05, setup.inference_s))
        yield chip or "simulated", setup, measured(setup, make_ina(chip) if chip else SimulatedMeter)


def with_faults(setups: int, seed: int) -> Iterator[tuple[str, tuple[EnergyCode, ...], Setup, Energy]]:
    """Every fault in so many set-ups."""
    for name, (plant, wanted) in FAULTS.items():
        for number in range(setups):
            setup = plant(replace(quiet(random_setup(seed + number, low_hz=1000, high_hz=20_000)), windows=3))
            yield name, wanted, setup, measured(setup)


def told(title: str, errors: list[float], refused: Counter[str]) -> None:
    """One line."""
    said = ", ".join(f"{count} {codes}" for codes, count in refused.most_common()) or "none"
    if errors:
        absolute = np.abs(errors)
        worst, middle = 100 * absolute.max(), 100 * np.median(absolute)
        print(
            f"{title}: {len(errors)} figures, error median {middle:.3f} %, largest {worst:.3f} %; refused: {said}"
        )
    else:
        print(f"{title}: no figure; refused: {said}")
    sys.stdout.flush()


def judged(title: str, cases: Iterator[tuple[str, Setup, Energy]]) -> tuple[int, int]:
    """How many figures are wrong, and how many set-ups were refused."""
    errors: dict[str, list[float]] = {}
    refused: dict[str, Counter[str]] = {}
    for kind, setup, energy in cases:
        errors.setdefault(kind, [])
        refused.setdefault(kind, Counter())
        if energy.valid:
            errors[kind].append(off(setup, energy))
        else:
            refused[kind]["+".join(energy.codes)] += 1
    for kind, found in errors.items():
        told(f"{title}, {kind}", found, refused[kind])
    wrong = sum(abs(error) > WRONG for found in errors.values() for error in found)
    return wrong, sum(sum(found.values()) for found in refused.values())


def main() -> int:
    """Prove it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--setups", type=int, default=200, help="of gate and marker each (default %(default)s)"
    )
    parser.add_argument("--faults", type=int, default=25, help="set-ups of each fault (default %(default)s)")
    parser.add_argument("--real", type=int, default=5, help="set-ups in real time (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    wrong, refused = judged("gate", by_gate(args.setups, args.seed))
    wrong += judged("marker", by_marker(args.setups, args.seed))[0]
    missed = 0
    codes: dict[str, Counter[str]] = {}
    for name, wanted, _, energy in with_faults(args.faults, args.seed):
        codes.setdefault(name, Counter())["+".join(energy.codes) or "A NUMBER"] += 1
        missed += not set(wanted) & set(energy.codes)
    for name, found in codes.items():
        print(f"fault, {name}: {', '.join(f'{count} {code}' for code, count in found.items())}")
    real_wrong, real_refused = judged("real time", measured_in_real_time(args.real, args.seed))
    print(
        f"{wrong + real_wrong} wrong numbers; {refused} of {args.setups} set-ups with a gate and {real_refused} of "
        f"{args.real} in real time refused; {missed} faults without their code"
    )
    return int(bool(wrong or real_wrong or missed))


if __name__ == "__main__":
    sys.exit(main())
