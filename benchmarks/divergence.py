"""`hil bench divergence`: faults planted in networks, and what the search for the first wrong layer says of them.

A fault is planted in the engine of a virtual board, its inputs are sent until an output is wrong, and the search
gets one tensor for each request. Found means: the node that was broken, by name.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError

if TYPE_CHECKING:
    from esp_hil.formats.espdl import EspdlModel, Node
    from esp_hil.targets import Family
    from esp_hil.tensors import Arrays
    from esp_hil.virtual.faults import FlippedBit, NodeFault

HELP = "plant faults in networks and see whether the search for the first wrong layer finds them"

MODELS = ("mnist", "gesture")
RECIPE = "w8a8"
INPUTS = 8
"""Inputs that are sent to a broken network until an output is wrong."""

_NO_PADDING = {(), (0, 0, 0, 0)}

_HEADING = ("network", "nodes", "planted", "at", "found at", "requests", "allowed", "diagnosis")

_TEXT = """\
# Where does it first go wrong?

`hil layers MODEL --recipe R --target T --board B` sends golden inputs until a board answers other integers than the
exact reference. Then it asks for intermediate tensors, one for each request, halving the part of the graph that is in
question: about log2 of the nodes. The first wrong tensor's values are laid beside those that each known fault would
give. A diagnosis that explains every value is certain; any other begins with "perhaps". `--save FILE.npz` keeps the
wrong tensor, the right one and the layer's inputs. The suites do the same when a device is wrong.

## Planted faults

Made by `hil bench divergence --family {family}{files} --out FILE.md`. Each fault is in the engine of a virtual board;
the networks of this repository get golden inputs, others random ones. {right} were found at their node and called by
their name. Allowed are log2 of the nodes, rounded up, and 3 more.

{table}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A fault and what it is called in the table; `kind` is the diagnosis that it must get."""

    title: str
    kind: str
    node: str
    fault: NodeFault | FlippedBit


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network to break, and inputs for it in the device's layout."""

    name: str
    family: Family
    model: EspdlModel
    inputs: tuple[Arrays, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the search said of one planted fault.

    Attributes:
        network: its name.
        family: of the chip.
        nodes: of its graph.
        planted: what was wrong.
        found: the node that the search named; "" if it named none.
        kind: its diagnosis.
        summary: the diagnosis in a clause.
        certain: the diagnosis explains every value.
        requests: tensors that were asked for.
        budget: how many may be: log2 of the nodes, rounded up, and 3.
    """

    network: str
    family: Family
    nodes: int
    planted: Planted
    found: str
    kind: str
    summary: str
    certain: bool
    requests: int
    budget: int

    @property
    def right(self) -> bool:
        """The right node, the right kind, every value explained, no request too many."""
        named = self.found == self.planted.node and self.kind == self.planted.kind
        return named and self.certain and self.requests <= self.budget


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil bench divergence`."""
    parser.add_argument(
        "--model", action="append", metavar="MODEL", help=f"models of golden/ (default: {', '.join(MODELS)})"
    )
    parser.add_argument(
        "--file",
        action="append",
        type=Path,
        default=[],
        metavar="FILE.espdl",
        help="any other network, with random inputs; may be given several times",
    )
    parser.add_argument("--family", default="esp32s3", help="whose numerics (default esp32s3)")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there as well")


def run(args: Namespace) -> int:
    """Print the table; status 1 if a fault was not found, or not called what it is."""
    from esp_hil.targets import FAMILIES

    if args.family not in FAMILIES:
        raise ConfigError(f"unknown family {args.family!r}", hint=f"one of: {', '.join(FAMILIES)}")
    networks = [of_catalogue(name, args.family) for name in args.model or MODELS]
    networks += [of_file(path, args.family) for path in args.file]
    outcomes = []
    for network in networks:
        for planted in faults_for(network):
            outcomes.append(search(network, planted))
            print(_line(outcomes[-1]), flush=True)
    right = sum(outcome.right for outcome in outcomes)
    print(f"{right} of {len(outcomes)} faults found at their node and called by their name")
    if args.out is not None:
        print(f"wrote {write(outcomes, args.out)}")
    return 0 if right == len(outcomes) else 1


def _line(outcome: Outcome) -> str:
    mark = "ok   " if outcome.right else "WRONG"
    return (
        f"{mark} {outcome.network} {outcome.family}: {outcome.planted.title} at {outcome.planted.node}: "
        f"found {outcome.found or 'nothing'} in {outcome.requests} of {outcome.budget} requests; {outcome.summary}"
    )


def of_catalogue(name: str, family: Family) -> Network:
    """A model of golden/ with its first golden inputs."""
    from esp_hil.formats.espdl import read_espdl
    from esp_hil.models import catalogue
    from esp_hil.models.device_file import open_device_file
    from esp_hil.targets import rounding_of

    model = catalogue.load(name)
    path = model.artifact(RECIPE, family)
    tensor = model.device_input(open_device_file(path))
    integers = tensor.to_device(model.golden(INPUTS).inputs, rounding_of(family))
    inputs = tuple({tensor.name: integers[i : i + 1]} for i in range(len(integers)))
    return Network(name=name, family=family, model=read_espdl(path), inputs=inputs)


def of_file(path: Path, family: Family) -> Network:
    """Any `.espdl` file, with random integers over the whole range of its inputs."""
    import numpy as np

    from esp_hil.formats.espdl import read_espdl

    model, random = read_espdl(path), np.random.default_rng(0)
    inputs = tuple(
        {
            value.name: random.integers(
                np.iinfo(value.dtype).min, np.iinfo(value.dtype).max, value.shape, value.dtype, endpoint=True
            )
            for value in model.graph.inputs
        }
        for _ in range(INPUTS)
    )
    return Network(name=path.stem, family=family, model=model, inputs=inputs)


def faults_for(network: Network) -> Iterator[Planted]:
    """Six faults of ports, each in a layer where it can happen."""
    from esp_hil.targets import rounding_of
    from esp_hil.virtual.faults import FlippedBit, NodeFault

    graph = network.model.graph
    convs = [node for node in graph.nodes if node.op_type == "Conv"]
    if len(convs) < 2:
        raise ConfigError(f"{network.name} has {len(convs)} Conv", hint="give a network with two or more")
    first, early, middle = convs[0], convs[1], convs[len(convs) // 2]
    padded = next((node for node in convs[1:] if node.attributes["pads"] not in _NO_PADDING), first)
    other = "half_even" if rounding_of(network.family) == "half_up" else "half_up"
    planted = (
        ("another rounding", "rounding", middle, NodeFault(node=middle.name, fault="rounding", mode=other)),
        ("exponent off by one", "shift", middle, NodeFault(node=middle.name, fault="exponent", amount=1)),
        ("NHWC as NCHW", "layout", early, NodeFault(node=early.name, fault="layout")),
        ("weight bit flipped", "parameter", early, FlippedBit(tensor=early.inputs[1], index=5, bit=7)),
        ("accumulator saturates", "saturation", first, _saturating(network, first)),
        ("padding off by one", "padding", padded, NodeFault(node=padded.name, fault="padding", amount=1)),
    )
    for title, kind, node, fault in planted:
        yield Planted(title=title, kind=kind, node=node.name, fault=fault)


def _saturating(network: Network, node: Node) -> NodeFault:
    """The widest accumulator of that layer that is too narrow for these inputs."""
    from esp_hil.virtual.faults import NodeFault

    for bits in range(19, 7, -1):
        fault = NodeFault(node=node.name, fault="accumulator", amount=bits)
        if _Broken(network, fault).first_wrong() is not None:
            return fault
    raise ConfigError(f"{network.name}: no accumulator of {node.name} is too narrow for its inputs")


class _Broken:
    """A network with one fault, beside the exact reference."""

    def __init__(self, network: Network, fault: NodeFault | FlippedBit) -> None:
        from esp_hil.exact import ExactReference
        from esp_hil.virtual.broken import BrokenNetwork
        from esp_hil.virtual.engine import with_flipped_bits
        from esp_hil.virtual.faults import FlippedBit

        bits = [fault] if isinstance(fault, FlippedBit) else []
        nodes = [] if isinstance(fault, FlippedBit) else [fault]
        self.network = network
        self.exact = ExactReference(network.model, network.family, threads=1)
        self.broken = BrokenNetwork(with_flipped_bits(network.model, bits), network.family, nodes)

    def first_wrong(self) -> tuple[int, list[str]] | None:
        """The first input with a wrong output, and those outputs."""
        import numpy as np

        names = [value.name for value in self.network.model.graph.outputs]
        for number, inputs in enumerate(self.network.inputs):
            right, got = self.exact.run(inputs), self.broken.run(inputs, tensors=names)
            wrong = [name for name in names if not np.array_equal(right[name], got[name])]
            if wrong:
                return number, wrong
        return None


def search(network: Network, planted: Planted) -> Outcome:
    """Break the network, send inputs until an output is wrong, look for the first wrong tensor.

    Raises:
        ConfigError: the fault reaches no output.
    """
    from esp_hil.verdict.bisection import Search
    from esp_hil.verdict.diverge import find

    device = _Broken(network, planted.fault)
    hit = device.first_wrong()
    if hit is None:
        raise ConfigError(f"{network.name}: {planted.title} at {planted.node} reaches no output")
    number, wrong = hit
    inputs, names = network.inputs[number], device.exact.tensor_names
    answers = device.broken.run(inputs, tensors=names)
    asked: list[str] = []

    def fetch(name: str) -> bytes:
        asked.append(name)
        data: bytes = answers[name].tobytes()
        return data

    found = find(
        network.model,
        network.family,
        inputs,
        device.exact.run_all(inputs),
        fetch,
        wrong=wrong,
        given=inputs,
        earlier=[{**device.exact.run_all(before), **before} for before in network.inputs[:number][::-1]],
    )
    graph = network.model.graph
    return Outcome(
        network=network.name,
        family=network.family,
        nodes=len(graph.nodes),
        planted=planted,
        found=found.node.name if found is not None and found.node is not None else "",
        kind=found.diagnosis.kind if found else "",
        summary=found.diagnosis.summary if found else "nothing is wrong",
        certain=found is not None and found.diagnosis.certain,
        requests=len(asked),
        budget=Search(graph, {}, fetch).budget,
    )


def summary(outcomes: Sequence[Outcome]) -> str:
    """As `18 of 18 faults`."""
    return f"{sum(outcome.right for outcome in outcomes)} of {len(outcomes)} faults"


def write(outcomes: Sequence[Outcome], path: Path) -> Path:
    """Write the page; returns its path.

    Raises:
        ConfigError: it cannot be written.
    """
    rows = [_HEADING, ("---",) * 5 + ("---:",) * 2 + ("---",), *map(_cells, outcomes)]
    others = dict.fromkeys(outcome.network for outcome in outcomes if outcome.network not in MODELS)
    text = _TEXT.format(
        family=outcomes[0].family,
        files="".join(f" --file {name}.espdl" for name in others),
        right=summary(outcomes),
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    return path


def _cells(outcome: Outcome) -> tuple[str, ...]:
    same = outcome.found == outcome.planted.node
    return (
        outcome.network,
        str(outcome.nodes),
        outcome.planted.title,
        f"`{outcome.planted.node}`",
        "there" if same else f"`{outcome.found}`" if outcome.found else "nowhere",
        str(outcome.requests),
        str(outcome.budget),
        outcome.summary,
    )
