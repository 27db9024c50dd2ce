"""How often regression detection cries wolf, and how often it sleeps: a study on seeded noise.

    hil bench regressions              # prints the table
    hil bench regressions --pairs 1000
    hil bench regressions --check      # what the detection promises, one line each; 1 if a promise is broken

Whole rows go through `esp_hil.results.regress.compare`, with all its gates. Each pair is a base run and a new run of
30 repetitions; `planted` shifts the new one. Noise is relative to the latency: the standard deviation of the
repetitions, and `between runs` that of a whole run's level (where code lies in the cache, temperature).
Deterministic: the same seed gives the same table; nothing is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from esp_hil.results.record import DeviceRow, Provenance, Run
from esp_hil.results.regress import Rules, compare

Noise = NDArray[np.float64]

CLOCK_HZ = 240_000_000
BASE_CYCLES = 12_000_000
REPETITIONS = 30
PLANTED = (0.0, 0.03, 0.05, 0.1)


def normal(rng: np.random.Generator, n: int, sigma: float) -> Noise:
    """Symmetric noise."""
    return sigma * rng.standard_normal(n)


def one_sided(rng: np.random.Generator, n: int, sigma: float) -> Noise:
    """A floor and a tail, as interrupts and cache misses make it."""
    return sigma * rng.exponential(size=n)


def with_outliers(rng: np.random.Generator, n: int, sigma: float) -> Noise:
    """Normal noise, and one repetition in twenty takes up to half as long again."""
    return sigma * rng.standard_normal(n) + (rng.random(n) < 0.05) * 0.5 * rng.random(n)


def sticky(correlation: float) -> Callable[[np.random.Generator, int, float], Noise]:
    """Noise whose neighbours are alike, autoregressive of the first order; `sigma` is that of one value."""

    def made(rng: np.random.Generator, n: int, sigma: float) -> Noise:
        steps = sigma * np.sqrt(1 - correlation**2) * rng.standard_normal(n)
        values = np.empty(n)
        values[0] = sigma * rng.standard_normal()
        for i in range(1, n):
            values[i] = correlation * values[i - 1] + steps[i]
        return values

    return made


def warming(rng: np.random.Generator, n: int, sigma: float) -> Noise:
    """Normal noise on a temperature that rises or falls, or both, by up to 1.5 % within a run."""
    turn, height = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.0075)
    slow = height * np.sin(turn + np.linspace(0, rng.uniform(0.5, 3), n))
    return sigma * rng.standard_normal(n) + slow


SHAPES: dict[str, Callable[[np.random.Generator, int, float], Noise]] = {
    "normal": normal,
    "one-sided": one_sided,
    "with outliers": with_outliers,
    "sticky 0.5": sticky(0.5),
    "sticky 0.7": sticky(0.7),
    "sticky 0.9": sticky(0.9),
    "warming": warming,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of the pairs.

    Attributes:
        seen: something is worse after one run.
        confirmed: and still after it was run again.
        refused: the repetitions drift or step so much that no median of them is a figure, and that is said.
    """

    seen: float
    confirmed: float
    refused: float


def row(rng: np.random.Generator, shape: str, sigma: float, between: float, factor: float) -> Run:
    """One run with seeded repetitions."""
    level = factor * (1 + between * rng.standard_normal())
    factors = level * (1 + SHAPES[shape](rng, REPETITIONS, sigma))
    return replace(_TEMPLATE, cycles=tuple(int(BASE_CYCLES * value) for value in factors))


def rates(
    *, pairs: int, shape: str, sigma: float, planted: float = 0.0, between: float = 0.0, seed: int = 1
) -> Rates:
    """Compare `pairs` pairs of runs, the new one slower by the share `planted`; and run it again if worse."""
    rng = np.random.default_rng(
        [seed, list(SHAPES).index(shape), round(1e4 * sigma), round(1e4 * planted), round(1e4 * between)]
    )
    rules = Rules()
    seen = confirmed = refused = 0
    for _ in range(pairs):
        base = row(rng, shape, sigma, between, 1.0)
        new = row(rng, shape, sigma, between, 1 + planted)
        found = compare([base], [new], rules)
        refused += bool(found.refusals)
        if found.regressions:
            seen += 1
            again = replace(row(rng, shape, sigma, between, 1 + planted), attempt=2)
            confirmed += bool(compare([base], [new, again], rules).regressions)
    return Rates(seen=seen / pairs, confirmed=confirmed / pairs, refused=refused / pairs)


_TEMPLATE = Run(
    run_id="00000000-0000-4000-8000-000000000000",
    session_id="00000000-0000-4000-8000-000000000001",
    started_utc="2026-01-01T00:00:00Z",
    duration_s=60.0,
    model="model",
    recipe="w8a8",
    runtime="espdl",
    target="esp32s3",
    board="s3-a",
    kind="silicon",
    location="partition",
    cores_used=1,
    inputs=1,
    counters={},
    device=DeviceRow(
        chip="esp32s3",
        revision=2,
        cores=2,
        clock_hz=CLOCK_HZ,
        flash_bytes=16 << 20,
        psram_bytes=8 << 20,
        idf="v5.5",
        engine="espdl",
        engine_version="3.3.9",
        protocol=1,
        sdkconfig_sha256="",
        image_sha256="",
    ),
    provenance=Provenance(git_sha="", dirty=False, model_sha256="", golden_sha256="", tools={}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the detection promises of pairs of one kind, at `PROMISED_PAIRS` pairs or more.

    Attributes:
        figure: the field of `Rates` that is promised; `told` is seen or refused.
        at_least, at_most: bounds of that share.
    """

    shape: str
    sigma: float
    figure: str
    planted: float = 0.0
    between: float = 0.0
    at_least: float = 0.0
    at_most: float = 1.0

    def measured(self, pairs: int, seed: int = 1) -> float:
        """The share that was promised, of this many pairs."""
        found = rates(
            pairs=pairs,
            shape=self.shape,
            sigma=self.sigma,
            planted=self.planted,
            between=self.between,
            seed=seed,
        )
        return found.seen + found.refused if self.figure == "told" else float(getattr(found, self.figure))

    def holds(self, share: float) -> bool:
        """Whether this share is within the bounds."""
        return self.at_least <= share <= self.at_most

    def __str__(self) -> str:
        kind = f"{self.shape}, {100 * self.sigma:g} % noise, {100 * self.between:g} % between runs"
        bound = f">= {100 * self.at_least:g} %" if self.at_least else f"<= {100 * self.at_most:g} %"
        return f"{kind}, {100 * self.planted:g} % slower: {self.figure} {bound}"


PROMISED_PAIRS = 200
INDEPENDENT = ("normal", "one-sided", "with outliers", "warming")
PROMISES = (
    *(Promise(shape=shape, sigma=0.01, figure="seen", at_most=0.01) for shape in SHAPES),
    *(Promise(shape=shape, sigma=0.01, between=0.003, figure="confirmed", at_most=0.01) for shape in SHAPES),
    *(Promise(shape=shape, sigma=0.01, planted=0.03, figure="seen", at_least=0.95) for shape in INDEPENDENT),
    # repetitions that are alike tell less, and a larger change is still found
    Promise(shape="sticky 0.5", sigma=0.01, planted=0.05, figure="seen", at_least=0.95),
    Promise(shape="sticky 0.9", sigma=0.01, planted=0.5, figure="told", at_least=0.99),
    Promise(shape="sticky 0.9", sigma=0.01, planted=0.5, figure="seen", at_least=0.5),
    # more noise makes no more false alarms
    *(
        Promise(shape=shape, sigma=0.05, figure="seen", at_most=0.01)
        for shape in ("normal", "one-sided", "with outliers", "sticky 0.7")
    ),
    Promise(shape="sticky 0.9", sigma=0.05, figure="confirmed", at_most=0.01),
)


def check(pairs: int, seed: int) -> int:
    """Print what of the promises holds; 1 if one is broken, as a command's exit code."""
    broken = 0
    for promise in PROMISES:
        share = promise.measured(pairs, seed)
        broken += not promise.holds(share)
        print(f"{'ok' if promise.holds(share) else 'BROKEN':8}{100 * share:6.1f} %  {promise}", flush=True)
    return int(broken > 0)


def main(args: argparse.Namespace) -> int:
    """Print the table, or with `--check` the promises; the command's exit code."""
    if args.check:
        return check(args.pairs, args.seed)
    print(
        f"{args.pairs} pairs, {REPETITIONS} repetitions each; percent of pairs called worse: once / confirmed"
    )
    print(
        f"{'noise':15}{'sigma':>7}{'runs':>7}"
        + "".join(f"{label:>15}" for label in ("alike", *(f"+{100 * share:g} %" for share in PLANTED[1:])))
    )
    for shape in SHAPES:
        for sigma, between in ((0.01, 0.0), (0.01, 0.003), (0.02, 0.0), (0.05, 0.0)):
            cells = [
                rates(
                    pairs=args.pairs,
                    shape=shape,
                    sigma=sigma,
                    planted=planted,
                    between=between,
                    seed=args.seed,
                )
                for planted in PLANTED
            ]
            said = "".join(f"{100 * cell.seen:7.1f} /{100 * cell.confirmed:6.1f}" for cell in cells)
            print(f"{shape:15}{100 * sigma:6.1f}%{100 * between:6.1f}%{said}", flush=True)
    return 0
