"""What a hostile or tired user types: one line each, a status that tells, no traceback, no password.

One row for each wrong input: the command, and what its line says. The rows of pytest are run by
`tox run -e proof-outcomes`, a few of them always.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from esp_hil.cli import main
from tests.conftest import ROOT
from tests.wrong_inputs import MNIST, SECRET, make

WHOLE = bool(os.environ.get("HIL_PROOF_OUTCOMES"))
DATABASE = f"postgres://hil:{SECRET}@127.0.0.1:1/x?connect_timeout=1"
NPZ = "exact mnist --outputs {d}/out.npz --inputs {d}"
GOOD = "{d}/good.jsonl"
LAYERS = "layers mnist --target esp32s3"
VIRTUAL = "virtual --target esp32s3"
LINK = "link --target esp32s3"

HIL = """
lint {d}/none.espdl                                 | cannot read
lint {d}/empty.espdl                                | is an empty file
lint {d}/text.espdl                                 | is text that starts with 'hello'
lint {d}/page.espdl                                 | is a web page
lint {d}/lfs.espdl                                  | git lfs pull
lint {d}/cut.espdl                                  | promises 429600 bytes
lint {d}/middle.espdl                               | promises 429600 bytes
lint {d}/folder.espdl                               | Is a directory
lint {d}/zip.onnx                                   | is a ZIP archive
lint {d}/cut.onnx                                   | not a readable ONNX file
lint {d}/noise.tflite                               | the file is damaged or truncated
lint {d}/cut.tflite                                 | the file is damaged or truncated
lint mnits                                          | did you mean 'mnist'?
lint face_detect                                    | is a task, not a model
lint mnist --recipe w4a4                            | it has: w8a8
lint mnist --target esp99                           | unknown target 'esp99'
lint mnist --inputs {d}/huge.npz                    | promises (1099511627776,)
lint mnist --inputs {d}/names.npz                   | the model has no input 'other'
lint mnist --esp-dl new                             | is no version of ESP-DL
lint                                                | which model? (hil lint MODEL, or --rules)
plan mnist --target esp99                           | unknown target 'esp99'
plan {d}/cut.tflite --target esp32s3                | the file is damaged or truncated
plan {d}/middle.espdl --target esp32s3              | promises 429600 bytes
plan mnist --target esp32s3 --max-internal -5       | a multiple of 16
exact mnist                                         | nothing to do
exact mnist --inputs {d}/names.npz                  | go together
NPZ/none.npz                                        | not a readable .npz
NPZ/huge.npz                                        | 1,099,511,627,776 bytes, and holds
NPZ/cut.npz                                         | not a readable .npz
NPZ/text.npz                                        | not a readable .npz
NPZ/pickle.npz                                      | not a readable .npz
NPZ/names.npz                                       | ['input'] expected
NPZ/shape.npz                                       | expected int8 (1, 28, 28, 1)
NPZ/dtype.npz                                       | expected int8 (1, 28, 28, 1)
exact mnist --save {d}/none/exact.onnx              | cannot write {d}/none/exact.onnx: there is no folder {d}/none
exact mnist --inputs {MNIST_INPUTS} --outputs {d}/none/o.npz | there is no folder {d}/none
plan mnist --target esp32s3 --svg {d}/none/o.svg    | there is no folder {d}/none
resolver --out {d}/none/o.txt                       | there is no folder {d}/none
report GOOD --out {d}/out --comment {d}/none/o.md   | there is no folder {d}/none
quantize mnist --recipe w8a8 --target esp32s3 --out {d}/none/o.espdl | there is no folder {d}/none
LINK virtual --record {d}/none/o.rec                | no folder {d}/none
VIRTUAL --flash {d}/none/flash.bin                  | there is no folder {d}/none
exact mnist --save {d}/empty                        | Is a directory
exact mnist --save /dev/full                        | No space left on device
exact {d}/zip.onnx --explain                        | is a ZIP archive
predict                                             | which model? which chip? (hil predict mnist
run mnist                                           | which chip? (hil run mnist --target esp32s3 --board
predict mnist --target esp32s3 --psram fast         | is not a PSRAM mode
predict mnist --target esp32s3 --clock-mhz 9999     | its fastest is 240 MHz
predict mnist --target esp32s3 --clock-mhz -1       | above 0
predict mnist --target esp32s3 --cache-kb 0         | above 0
predict mnist --target esp32s3 --cache-kb 48        | no esp32s3 has a cache of 48 KB (there is: 16, 32, 64)
predict mnist --target esp32p4 --cache-kb 64        | there is: 128, 256, 512
predict mnist --target esp32s3 --clock-mhz 200      | there is: 40, 80, 160, 240
predict mnist --target esp32s3 --psram hex200       | there is: octal120, octal80, octal40, quad120
predict mnist --target esp32p4 --psram octal80      | there is: hex250, hex200, hex80, hex20, none
predict mnist --target esp32c3 --psram quad80       | no esp32c3 has PSRAM in mode quad80 (there is: none)
predict mnist --target esp32 --flash opi80          | there is: qio80, qio40, dio80, dio40
predict mnist --target esp32c3 --cores 2            | no esp32c3 has 2 cores (there is: 1)
predict mnist --target esp32s3 --learn {d}/none     | cannot read
predict mnist --target esp32s3 --learn {d}/words.jsonl | not JSON
scores mnist --input 9999                           | there are 120
scores mnist --input -1                             | there are 120
scores mnist w4a4                                   | it has: w8a8
scores {d}/middle.espdl                             | promises 429600 bytes
LAYERS --port /dev/none                             | there is no port /dev/none
LAYERS --board nobody                               | no board 'nobody'
LAYERS --board virtual --input 9999                 | 0 to 119
LAYERS --board virtual --inputs {d}/names.npz       | ['input'] expected
report                                              | which rows?
report {d}/none                                     | cannot read
report {d}/empty                                    | no runs.jsonl in
report {d}/folder.jsonl                             | no runs.jsonl in
report {d}/empty.jsonl                              | the file is empty
report {d}/words.jsonl                              | words.jsonl:1: not JSON
report {d}/list.jsonl                               | not a row of esp-hil
report {d}/deep.jsonl                               | nested too deeply
report {d}/latin.jsonl                              | not text in UTF-8
report {d}/future.jsonl                             | row has schema 99
report {d}/types.jsonl                              | model: 3 is int, must be str
report {d}/lacking.jsonl                            | no board, cores_used
report {d}/half.jsonl                               | row torn or damaged
report GOOD --out {d}/out --formats pdf             | unknown format pdf
report GOOD --out /dev/null/x                       | cannot write
report GOOD --out GOOD                              | cannot write
report GOOD --out {d}/out --history DATABASE        | Connection refused
report GOOD --out {d}/out --build-dir {d}/none      | sdkconfig.json
report GOOD {d}/none                                | cannot read
compare GOOD {d}/none                               | none: No such file or directory (give a folder of results
compare GOOD {d}/words.jsonl                        | not JSON
compare GOOD GOOD --threshold latency               | did you mean 'latency_ms'?
compare GOOD GOOD --threshold latency_ms=fast       | not a number
compare GOOD GOOD --across colour                   | no condition 'colour'
compare GOOD GOOD --alpha 7                         | a probability
compare GOOD GOOD --json /dev/full                  | No space left on device
compare GOOD GOOD --junit /dev/null/x               | cannot write
compare DATABASE GOOD                               | Connection refused
compare {d}/text.db GOOD                            | file is not a database
compare {d}/none.sqlite GOOD                        | no history at
report GOOD --out {d}/out --history {d}/none.sqlite | no history at
report {d}/none.sqlite GOOD --out {d}/out           | no history at
history --history {d}/text.db show                  | file is not a database
history --history {d}/empty show                    | neither a URL nor a file
history --history /dev/null/x.sqlite show           | no history at /dev/null/x.sqlite
history --history /dev/null/x.sqlite add GOOD       | cannot make
history --history {d}/none.sqlite steps             | hil history add DIR makes one
history --history DATABASE show                     | is the database up
history --history mysql://hil:{SECRET}@host/x show  | no histories in mysql
history --history postgres://hil:{SECRET}@h:p/x show | is not the URL of a history
history --history {d}/h.sqlite add {d}/words.jsonl  | not JSON
history --history {d}/h.sqlite add {d}/none         | cannot read
history --history {d}/h.sqlite show --since yesterday | not a day
history --history {d}/h.sqlite sessions --last -3   | at least 1
log {d}/none                                        | cannot read
log {d}/empty                                       | Is a directory
log {d}/recording.txt --elf {d}/none                | no ELF at
log {d}/recording.txt --elf {d}/empty               | no ELF at
log {d}/recording.txt --elf {d}/text.espdl          | is not an ELF file
log {d}/recording.txt --target esp99                | unknown target 'esp99'
replay {d}/none                                     | No such file
replay {d}/recording.txt                            | is not a recording
micropython image {d}/none                          | give the firmware.bin
micropython image {d}/text.espdl                    | does not begin with a bootloader
micropython faces {d}/text.db                       | the file is cut short
micropython board /dev/none                         | there is no port
resolver {d}/text.espdl                             | is text that starts with
resolver {d}/none.tflite                            | cannot read
resolver --out /dev/null/x                          | cannot write
golden verify nobody                                | no model 'nobody'
golden verify escape                                | '../../x'
golden verify float_outside                         | /etc/hostname
golden verify inputs_outside                        | ../..
golden verify latin                                 | model.toml
golden verify nothing                               | model.toml
golden verify types                                 | model.toml
lint manifest_list                                   | manifest.json
lint manifest_type                                   | manifest.json
lint manifest_gone                                   | manifest.json
lint file_gone --target esp32s3                     | file_gone
lint file_changed --target esp32s3                  | file_changed
scores inputs_changed                               | inputs_changed
golden accuracy mnist --data {d}/none               | no data set at {d}/none (give the file or the folder
golden accuracy mnist --data {d}/text.npz           | not a readable .npz
golden accuracy mnist --data {d}/none --limit 0     | at least 1
quantize mnist --recipe w4a4 --target esp32s3       | it has: w8a8
quantize nobody --recipe w8a8 --target esp32s3      | no model 'nobody'
sensitivity nobody --recipe w8a8 --target esp32s3   | no model 'nobody'
new ../x --onnx {d}/cut.onnx --calibration {d}/empty | '../x' cannot be a model's name
new own --onnx {MODEL} --mean a | --mean a is not a list of numbers
new own --onnx {d}/cut.onnx --calibration {d}/empty --into {d}/own | is not an ONNX model
new own --onnx {MODEL} --calibration {d}/none --into {d}/own | no folder
new own --onnx {MODEL} --calibration {d}/empty --into {d}/own | no input in
task nobody @astronaut                              | no task 'nobody'
task all @astronaut                                 | `all` is for --update-from
task all                                            | `all` is for --update-from
task coco @astronaut --zoo {d}/empty                | docs/tasks.md tells how to get it
task face_detect {d}/bad.jpg --zoo {d}/empty        | in {d}/empty
VIRTUAL --faults {d}/none.json                      | No such file
VIRTUAL --faults {d}/plan.json                      | Expecting property name
VIRTUAL --faults {d}/plan_list.json                 | not a table
VIRTUAL --faults {d}/plan_key.json                  | engine has no 'colour'
VIRTUAL --faults {d}/plan_type.json                 | should be float, got 'fast'
VIRTUAL --faults {d}/plan_deep.json                 | nested too deeply
VIRTUAL --baud-model fast                           | is not a model of a line
VIRTUAL --flash {d}/empty                           | the board's flash has
VIRTUAL --flash {d}/text.espdl                      | has 6 bytes
VIRTUAL --listen tcp:99999999                       | cannot listen
VIRTUAL --listen udp                                | unknown kind of port
LINK nobody                                         | no board 'nobody'
LINK /dev/none                                      | there is no port /dev/none (the board `virtual` needs no hardware
LINK /dev/null                                      | cannot open
LINK socket://127.0.0.1:1                           | nothing listens at
LINK rfc2217://127.0.0.1:1                           | nothing listens at
LINK virtual --record /dev/null/x                   | cannot record to
LINK virtual --bytes -1                             | at least 1000
flash --build-dir {d}/none                          | none is not there
flash --build-dir {d}/empty                         | is not a build folder
build --build-dir {d}/none                          | no build folder at
build --target esp32s9                              | unknown target 'esp32s9'
boards --lift nobody                                | is not in quarantine
fps --board virtual --zoo {d}/none                  | is not a folder
fps --board virtual --image {d}/none.jpg            | cannot be read
"""

BOARDS = {
    "boards_type.toml": "target",
    "boards_key.toml": "colour",
    "boards_chip.toml": "esp99",
    "boards_twice.toml": "boards_twice.toml",
    "boards_list.toml": "is not a table",
    "boards_deep.toml": "nested too deeply",
    "latin.toml": "latin.toml",
}

PYTEST = """
--target esp99 --hil-board virtual                  | 4 | unknown target 'esp99'
--target esp32s3 --hil-board virtal                 | 4 | did you mean 'virtual'
--target esp32s3 --port /dev/none                   | 4 | no port /dev/none
--target esp32s3 VIRTUAL --hil-model mnits          | 4 | did you mean 'mnist'
--target esp32s3 VIRTUAL --hil-recipe w4a4          | 4 | no recipe 'w4a4'
--target esp32s3 VIRTUAL --hil-runtime onnx         | 4 | onnx
--target esp32s3 VIRTUAL --hil-runs 0               | 4 | at least 1
--target esp32s3 VIRTUAL --hil-runs many            | 4 | many
--target esp32s3 VIRTUAL --hil-inputs -1            | 4 | --hil-inputs
--target esp32s3 VIRTUAL --hil-inputs 9999          | 4 | 9999
--target esp32s3 VIRTUAL --hil-cores 7              | 4 | --hil-cores
--target esp32s3 VIRTUAL --hil-data {d}/none        | 4 | {d}/none
--target esp32s3 VIRTUAL --hil-baseline {d}/none    | 4 | cannot read
--target esp32s3 VIRTUAL --hil-baseline {d}/words.jsonl | 4 | not JSON
--target esp32s3 VIRTUAL --hil-threshold latency    | 4 | latency_ms
--target esp32s3 VIRTUAL --hil-across colour        | 4 | no condition 'colour'
--target esp32s3 VIRTUAL --hil-history {d}/text.db  | 4 | file is not a database
--target esp32s3 VIRTUAL --hil-history mysql://hil:{SECRET}@host/x | 4 | no histories in mysql
--target esp32s3 VIRTUAL --hil-history histroy      | 4 | neither a URL nor a file
--target esp32s3 VIRTUAL --hil-results GOOD         | 4 | cannot write
--target esp32s3 VIRTUAL --hil-record /dev/null/x   | 4 | cannot record
--target esp32s3 VIRTUAL --hil-virtual-faults {d}/plan_list.json | 4 | not a table
--target esp32s3 VIRTUAL --hil-virtual-faults {d}/plan_key.json | 4 | engine has no 'colour'
--target esp32s3 VIRTUAL --hil-build-profile colour | 4 | colour
--target esp32s3 --hil-board virtual --hil-mlperf-tiny {d}/empty --hil-model mlperf-tiny-kws | 4 | {d}/empty
"""
QUICK = ("--hil-inputs 9999", "--hil-history mysql", "--hil-virtual-faults {d}/plan_list.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One wrong input; texts with {d} for the folder of wrong files."""

    line: str
    status: int
    words: str


def rows(table: str) -> list[Row]:
    """The rows of a table: the command, its status unless that is 2, and words of its message."""
    found = []
    for line in table.strip().splitlines():
        command, *status, words = (cell.strip() for cell in line.split(" | "))
        found.append(Row(line=command, status=int(status[0]) if status else 2, words=words))
    return found


SHORT = {"NPZ": NPZ, "GOOD": GOOD, "LAYERS": LAYERS, "DATABASE": DATABASE, "LINK": LINK}


def arguments(line: str, folder: Path, short: dict[str, str]) -> list[str]:
    for name, meant in short.items():
        line = line.replace(name, meant)
    return shlex.split(
        line.format(d=folder, SECRET=SECRET, MODEL=MNIST / "model.onnx", MNIST_INPUTS=MNIST / "inputs.npz")
    )


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("wrong"))


@pytest.fixture
def golden(wrong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_GOLDEN", os.pathsep.join(map(str, (ROOT / "golden", wrong / "golden"))))
    monkeypatch.setenv("HIL_BOARDS", str(wrong / "no_boards.toml"))


@pytest.mark.usefixtures("golden")
@pytest.mark.parametrize("row", rows(HIL), ids=lambda row: row.line)
def test_a_wrong_input_of_a_command_is_one_line(
    row: Row, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "/dev/full" in row.line and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    given = arguments(row.line, wrong, SHORT | {"VIRTUAL": VIRTUAL})
    try:
        status = main(given)
    except SystemExit as left:  # argparse's own
        status = int(left.code or 0)
    told = capsys.readouterr()
    assert status == row.status, told.out + told.err
    (said,) = told.err.splitlines()
    assert said.startswith(f"hil {given[0]}: error: ")
    assert row.words.format(d=wrong) in said
    assert SECRET not in told.out + told.err


@pytest.mark.parametrize("name", BOARDS)
def test_a_wrong_list_of_boards_is_one_line(
    name: str, wrong: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIL_BOARDS", str(wrong / name))
    assert main(["boards"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert BOARDS[name] in said


@pytest.mark.parametrize("command", ["lint --rules", "predict mnist --target esp32s3", "report --columns"])
def test_a_full_disk_under_the_output_is_one_line(command: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "esp_hil.cli", *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"hil {command.split(maxsplit=1)[0]}: error: No space left on device"]


@pytest.mark.parametrize("row", rows(PYTEST), ids=lambda row: row.line)
def test_a_wrong_option_of_pytest_ends_the_run_at_its_start(row: Row, wrong: Path, tmp_path: Path) -> None:
    if not (WHOLE or any(part in row.line for part in QUICK)):
        pytest.skip("takes its time: tox run -e proof-outcomes")
    virtual = {"VIRTUAL": "--hil-board virtual --hil-model mnist", "GOOD": GOOD}
    results = [] if "--hil-results" in row.line else ["--hil-results", str(tmp_path / "results")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suites"]
    done = subprocess.run(
        [*command, *results, *arguments(row.line, wrong, virtual)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = done.stdout + done.stderr
    assert done.returncode == row.status, said
    assert row.words.format(d=wrong) in said
    assert "Traceback" not in said
    assert "INTERNALERROR" not in said
    assert SECRET not in said
    assert said.count("ERROR: ") <= 1
    assert not (tmp_path / "results" / "report.html").exists()
