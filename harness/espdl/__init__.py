"""Reading `.espdl` files, ESP-DL's model format, and what can be said about a model without running it."""

from harness.espdl.container import images
from harness.espdl.family import possible_families
from harness.espdl.model import Attribute, EspdlModel, Graph, Node, Tensor, ValueInfo
from harness.espdl.reader import read_espdl

__all__ = [
    "Attribute",
    "EspdlModel",
    "Graph",
    "Node",
    "Tensor",
    "ValueInfo",
    "images",
    "possible_families",
    "read_espdl",
]
