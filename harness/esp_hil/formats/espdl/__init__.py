"""Reading `.espdl` files, ESP-DL's model format, and what can be said about a model without running it."""

from esp_hil.formats.espdl.container import images
from esp_hil.formats.espdl.family import possible_families
from esp_hil.formats.espdl.model import Attribute, EspdlModel, Graph, Node, TensorData, ValueInfo
from esp_hil.formats.espdl.reader import read_espdl

__all__ = [
    "Attribute",
    "EspdlModel",
    "Graph",
    "Node",
    "TensorData",
    "ValueInfo",
    "images",
    "possible_families",
    "read_espdl",
]
