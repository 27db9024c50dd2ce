"""The committed _device.pyi against what nanobind's own stub generator says of the compiled module.

The generator knows names, parameters, defaults and plain types; protocols, unions and docstrings are ours. So whatever
it knows must stand in the committed stub, and nothing else may: a binding that changed without its stub fails here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest

from esp_hil import _device
from tests.conftest import ROOT

STUB = ROOT / "harness" / "esp_hil" / "_device.pyi"
UNTOLD = {"object", "list", "object | None"}
"""Types that the generator gives where the binding takes or returns Python objects: there the stub says more."""


@pytest.fixture(scope="module")
def generated() -> ast.Module:
    stubgen: Any = pytest.importorskip(
        "nanobind.stubgen", reason="nanobind generates the stub to compare with"
    )
    maker = stubgen.StubGen(module=_device, quiet=True)
    maker.put(_device)
    return ast.parse(str(maker.get()))


@pytest.fixture(scope="module")
def committed() -> ast.Module:
    return ast.parse(STUB.read_text(encoding="utf-8"))


def functions(module: ast.Module) -> dict[str, ast.FunctionDef]:
    """Functions and methods by qualified name, but for those of protocols, which only type checkers know."""

    def within(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
        for node in body:
            if isinstance(node, ast.FunctionDef):
                yield prefix + node.name, node
            elif isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
                yield from within(node.body, f"{node.name}.")

    return dict(within(module.body))


def shape(function: ast.FunctionDef) -> str:
    """Parameters with their kinds and defaults, without types; and whether it is a property."""
    bare = function.args
    parts = [
        *(f"positional {argument.arg}" for argument in (*bare.posonlyargs, *bare.args)),
        *(f"keyword {argument.arg}" for argument in bare.kwonlyargs),
        *(f"default {ast.unparse(value)}" for value in (*bare.defaults, *bare.kw_defaults) if value),
        *(ast.unparse(decorator) for decorator in function.decorator_list),
    ]
    return ", ".join(parts)


def types(function: ast.FunctionDef) -> dict[str, str]:
    """Of each parameter, and of what it returns."""
    arguments = (*function.args.args, *function.args.kwonlyargs)
    told = {argument.arg: ast.unparse(argument.annotation) for argument in arguments if argument.annotation}
    return told | {"return": ast.unparse(function.returns) if function.returns else ""}


def test_the_stub_has_the_module_s_functions_and_methods_and_no_others(
    generated: ast.Module, committed: ast.Module
) -> None:
    assert sorted(functions(committed)) == sorted(functions(generated))


def test_parameters_kinds_and_defaults_are_the_module_s(generated: ast.Module, committed: ast.Module) -> None:
    of_module = {name: shape(function) for name, function in functions(generated).items()}
    assert {name: shape(function) for name, function in functions(committed).items()} == of_module


def test_types_that_the_generator_knows_are_the_stub_s(generated: ast.Module, committed: ast.Module) -> None:
    ours = functions(committed)
    wrong = [
        f"{name}: {parameter} is {types(ours[name]).get(parameter)}, {told} in the module"
        for name, function in functions(generated).items()
        for parameter, told in types(function).items()
        if told not in UNTOLD and types(ours[name]).get(parameter) != told
    ]
    assert wrong == []
