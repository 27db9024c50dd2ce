from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import WireError
from esp_hil.wire.info import CounterSpec, parse_counters, parse_info, parse_profile

INFO: dict[str, Any] = {
    "protocol": 1,
    "app": "a",
    "app_version": "1",
    "chip": "esp32s3",
    "revision": 2,
    "cores": 2,
    "clock_hz": 240_000_000,
    "flash_bytes": 1 << 24,
    "psram_bytes": 0,
    "internal_bytes": 1 << 19,
    "mac": "",
    "idf": "v5.5",
    "engine": "espdl",
    "engine_version": "3.3.9",
    "families": ["esp32s3"],
    "sdkconfig_sha256": "",
    "image_sha256": "",
    "reset_reason": "power_on",
    "kind": "silicon",
    "boot_id": 1,
    "generation": 1,
    "slots": 2,
    "max_repeats": 10,
    "answer_bytes": 256,
    "capture_bytes": 4096,
    "model": {"sha256": "ab", "bytes": 5, "location": "partition", "family": "esp32s3", "name": "m"},
    "tensors": [
        {
            "role": "output",
            "index": 0,
            "name": "y",
            "dtype": "float32",
            "shape": [1, 10],
            "layout": "",
        },
        {
            "role": "input",
            "index": 1,
            "name": "b",
            "dtype": "int16",
            "shape": [1, 3],
            "layout": "",
            "exponent": -3,
        },
        {
            "role": "input",
            "index": 0,
            "name": "a",
            "dtype": "int8",
            "shape": [1, 8, 8, 3],
            "layout": "NHWC",
            "exponent": -7,
        },
    ],
    "counters": [{"id": 4, "name": "arena_bytes", "unit": "bytes"}],
}


def changed(**changes: Any) -> bytes:
    return cbor2.dumps(INFO | changes)


def test_info_gives_inputs_and_outputs_in_index_order_with_their_sizes() -> None:
    info = parse_info(cbor2.dumps(INFO))
    assert [tensor.name for tensor in info.inputs] == ["a", "b"]
    assert [tensor.size_bytes for tensor in (*info.inputs, *info.outputs)] == [192, 6, 40]
    assert info.inputs[1].exponent == -3
    assert info.outputs[0].exponent is None
    assert info.model is not None
    assert info.model.size_bytes == 5
    assert info.families == ("esp32s3",)


def test_keys_of_a_later_version_are_ignored() -> None:
    assert parse_info(changed(moon_phase="full")) == parse_info(cbor2.dumps(INFO))


def test_no_model_is_none() -> None:
    assert parse_info(changed(model=None, tensors=[])).model is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"clock_hz": "fast"}, "clock_hz"),
        ({"cores": True}, "cores"),
        ({"kind": "imaginary"}, "kind"),
        ({"tensors": {}}, "tensors"),
        ({"tensors": [5]}, "tensor"),
        ({"tensors": [INFO["tensors"][1] | {"dtype": "int3"}]}, "b.dtype"),
        ({"tensors": [INFO["tensors"][1] | {"shape": [-1]}]}, "shape"),
        ({"tensors": [INFO["tensors"][1] | {"exponent": 1.5}]}, "exponent"),
        ({"model": {"sha256": "ab"}}, "model.bytes"),
        ({"counters": [{"id": 1}]}, "counter.name"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_key(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(WireError, match=named):
        parse_info(changed(**changes))


@pytest.mark.parametrize("key", [key for key in INFO if key != "model"])
def test_a_missing_key_is_an_error_that_names_it(key: str) -> None:
    with pytest.raises(WireError, match=key):
        parse_info(cbor2.dumps({k: v for k, v in INFO.items() if k != key}))


@given(st.binary(max_size=80))
def test_any_bytes_are_info_or_a_wire_error(data: bytes) -> None:
    for parse in (parse_info, parse_profile, lambda d: parse_counters(d, ())):
        with pytest.raises(WireError):
            parse(b"\xa1\x01" + data)


def test_counters_come_by_name() -> None:
    specs = (CounterSpec(id=4, name="arena_bytes", unit="bytes"), CounterSpec(id=5, name="runs", unit=""))
    assert parse_counters(cbor2.dumps([[5, 7], [4, 32_144]]), specs) == {"runs": 7, "arena_bytes": 32_144}


@pytest.mark.parametrize("rows", [[[9, 1]], [[4]], [["4", 1]], 5])
def test_counters_that_info_does_not_announce_are_an_error(rows: Any) -> None:
    with pytest.raises(WireError, match="COUNTERS"):
        parse_counters(cbor2.dumps(rows), (CounterSpec(id=4, name="arena_bytes", unit="bytes"),))


def test_a_profile_keeps_the_order_of_the_layers() -> None:
    layers = parse_profile(cbor2.dumps([["conv", "Conv", 9], ["relu", "Relu", 1]]))
    assert [(layer.name, layer.type, layer.cycles) for layer in layers] == [
        ("conv", "Conv", 9),
        ("relu", "Relu", 1),
    ]
