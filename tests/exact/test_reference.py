"""ExactReference: what it takes and gives, batches, states, families; the cache and the saved graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.errors import InputError, ReportError, UnsupportedOperator
from esp_hil.exact import ExactReference, NotBatchable, cache, lower, reference, save_onnx
from esp_hil.exact.session import open_session
from esp_hil.formats.espdl import EspdlModel, read_espdl
from esp_hil.targets import Family
from tests.formats.espdl.examples import conv_graph
from tests.formats.espdl.writer import edl, graph, node, tensor, value

SHAPE = (1, 6, 6, 3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def conv_model() -> EspdlModel:
    return read_espdl(edl(conv_graph()))


def samples(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return np.random.default_rng(count).integers(-128, 128, (count, *SHAPE[1:])).astype(np.int8)


def test_a_batch_gives_what_single_runs_give() -> None:
    reference = ExactReference(conv_model(), "c")
    x = samples(70)
    batch = reference.run_batch({"x": x}, tensors=["h", "y"])
    for name, values in batch.items():
        singles = [reference.run({"x": x[k : k + 1]}, tensors=[name])[name] for k in range(70)]
        assert np.array_equal(values, np.concatenate(singles))


def test_a_graph_that_mixes_samples_is_run_one_by_one() -> None:
    op = node("Transpose", ("x",), ("y",), perm=(1, 0))
    model = read_espdl(edl(graph([op], (value("x", (1, 3)), value("y", (3, 1))))))
    with pytest.raises(NotBatchable):
        lower(model, "c", batched=True)
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    assert np.array_equal(ExactReference(model, "c").run_batch({"x": x})["y"], x[:, :, None])


def test_every_tensor_is_to_be_had_in_the_device_s_type_and_shape() -> None:
    reference = ExactReference(conv_model(), "c")
    tensors = reference.run_all({"x": samples(1)})
    assert list(tensors) == list(reference.tensor_names) == ["h", "y"]
    assert all(array.dtype == np.int8 for array in tensors.values())
    assert tensors["h"].shape == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "expected"),
        ({"z": samples(1)}, "'x'"),
        ({"x": samples(2)}, r"expected int8 \(1, 6, 6, 3\)"),
        ({"x": samples(1).astype(np.int16)}, "is int16"),
    ],
)
def test_a_wrong_input_is_named_with_what_was_expected(
    inputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int8]]], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        ExactReference(conv_model(), "c").run(inputs)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        ExactReference(conv_model(), "c").run_batch({"x": samples(1)[:0]})


def test_an_unknown_tensor_is_refused() -> None:
    with pytest.raises(InputError, match="no tensor 'zz'"):
        ExactReference(conv_model(), "c").run({"x": samples(1)}, tensors=["zz"])


def streaming_model() -> EspdlModel:
    op = node("StreamingCache", ("x",), ("y",), window_size=3, frame_axis=1)
    return read_espdl(edl(graph([op], (value("x", (1, 2, 1)), value("y", (1, 4, 1))))))


def test_a_streaming_cache_starts_empty_unless_told_to_go_on() -> None:
    reference = ExactReference(streaming_model(), "c")

    def run(first: int, *, keep: bool) -> list[int]:
        x = np.array([[[first], [first + 1]]], np.int8)
        return [int(v) for v in reference.run({"x": x}, keep_state=keep)["y"].reshape(-1)]

    assert run(1, keep=True) == [0, 0, 1, 2]
    assert run(3, keep=False) == [0, 0, 3, 4]
    assert run(5, keep=True) == [1, 2, 5, 6]
    reference.reset()
    assert run(7, keep=True) == [0, 0, 7, 8]


def test_a_sequence_starts_empty_and_goes_on_from_inference_to_inference() -> None:
    reference = ExactReference(streaming_model(), "c")
    assert reference.streams
    assert not ExactReference(conv_model(), "c").streams
    x = np.arange(1, 7, dtype=np.int8).reshape(3, 2, 1)
    for _ in range(2):
        answers = reference.run_sequence({"x": x})["y"]
        assert answers.reshape(3, 4).tolist() == [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 6]]


def test_a_streaming_cache_without_a_frame_to_keep_is_refused() -> None:
    op = node("StreamingCache", ("x",), ("y",), window_size=1, frame_axis=1)
    written = graph([op], (value("x", (1, 2, 1)), value("y", (1, 2, 1))))
    with pytest.raises(UnsupportedOperator, match="window_size 1"):
        lower(read_espdl(edl(written)), "c")


@pytest.mark.parametrize("family", ["c", "esp32p4"])
def test_the_family_is_found_by_the_answer_that_the_file_holds(family: Family) -> None:
    values = (value("x", (1, 4), -1), value("y", (1, 4), 0))
    x = np.array([[1, 3, 5, 7]], np.int8)
    wanted = [1, 2, 3, 4] if family == "c" else [0, 2, 2, 4]
    written = graph(
        [node("RequantizeLinear", ("x",), ("y",))],
        values,
        test_inputs=(tensor("x", x, exponents=(-1,)),),
        test_outputs=(tensor("y", np.array([wanted], np.int8), exponents=(0,)),),
    )
    choice = ExactReference(read_espdl(edl(written))).choice
    assert choice.family == family
    assert choice.evidence == ("test tensors" if family == "esp32p4" else "assumed")
    assert choice.others == (() if family == "esp32p4" else ("esp32s3",))


def test_a_file_for_other_chips_is_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="not for esp32s3"):
        ExactReference(conv_model(), "esp32s3")


def test_a_lowered_graph_is_found_again_and_a_damaged_one_is_not_used(own_cache: Path) -> None:
    x = samples(1)
    wanted = ExactReference(conv_model(), "c", integer=False).run({"x": x})["y"]
    described, stored = sorted((own_cache / "exact").iterdir())
    assert (described.suffix, stored.suffix) == (".json", ".onnx")
    before = stored.stat().st_ino
    ExactReference(conv_model(), "c", integer=False)
    assert stored.stat().st_ino == before, "found, not made again"
    for part in (described, stored):
        whole = part.read_bytes()
        for damaged in (b"", whole[:-1], whole[:40] + b"?" + whole[41:], whole[:-40] + b"7" + whole[-39:]):
            part.write_bytes(damaged)
            assert np.array_equal(ExactReference(conv_model(), "c", integer=False).run({"x": x})["y"], wanted)
            assert part.read_bytes() == whole


def test_a_graph_that_another_process_removes_is_made_again(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cache.lower_cached
    removed: list[Path] = []

    def and_removed(*args: Any, **options: Any) -> Any:
        lowered, data = found(*args, **options)
        if not removed and isinstance(data, Path):
            removed.append(data)
            data.unlink()
        return lowered, data

    monkeypatch.setattr(reference, "lower_cached", and_removed)
    ExactReference(conv_model(), "c", integer=False)
    assert [path.exists() for path in removed] == [True]


def test_a_graph_that_cannot_be_kept_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "file" / "below"))
    assert ExactReference(conv_model(), "c", integer=False).run({"x": samples(1)})["y"].any()


def test_another_model_of_the_same_name_is_not_found(own_cache: Path) -> None:
    ExactReference(conv_model(), "c", integer=False)
    ExactReference(read_espdl(edl(conv_graph(bias=7))), "c", integer=False)
    assert len(list((own_cache / "exact").glob("*.onnx"))) == 2


def test_old_graphs_make_room_for_new_ones(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEPT_BYTES", 1)
    ExactReference(conv_model(), "c", integer=False)
    assert not list((own_cache / "exact").iterdir())


def test_the_saved_graph_gives_the_same_integers_and_keeps_the_names(tmp_path: Path) -> None:
    path = tmp_path / "exact.onnx"
    save_onnx(conv_model(), "c", path)
    session = open_session(path.read_bytes(), 1)
    x = samples(1)
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("x", "tensor(int8)", list(SHAPE))
    assert (result.name, result.type) == ("y", "tensor(int8)")
    assert np.array_equal(
        session.run(["y"], {"x": x})[0], ExactReference(conv_model(), "c").run({"x": x})["y"]
    )


ALONE = """
import sys
sys.modules["esp_hil"] = None
import numpy, onnxruntime
model, given, made = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
numpy.savez(made, **dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(numpy.load(given))))))
"""


def test_onnxruntime_alone_gives_the_same_integers_without_this_package(tmp_path: Path) -> None:
    import onnxruntime

    names = ["h", "y"]
    save_onnx(conv_model(), "c", tmp_path / "exact.onnx", tensors=names)
    x = samples(1)
    np.savez(tmp_path / "given.npz", x=x)
    packages = Path(onnxruntime.__file__).parents[1]
    script = f"import sys; sys.path.append({str(packages)!r})" + ALONE
    paths = [str(tmp_path / name) for name in ("exact.onnx", "given.npz", "made.npz")]
    subprocess.run([sys.executable, "-I", "-S", "-c", script, *paths], check=True, cwd=tmp_path)
    made, wanted = np.load(tmp_path / "made.npz"), ExactReference(conv_model(), "c").run_all({"x": x})
    assert sorted(made.files) == names
    assert all(np.array_equal(made[name], wanted[name]) for name in names)


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot write"):
        save_onnx(conv_model(), "c", tmp_path / "no" / "folder.onnx")


def test_integer_and_float_kernels_agree_on_every_tensor() -> None:
    x = samples(1)
    both = [ExactReference(conv_model(), "c", integer=integer).run_all({"x": x}) for integer in (False, True)]
    assert all(np.array_equal(both[0][name], both[1][name]) for name in both[0])
