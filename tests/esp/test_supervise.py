from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.esp.backtrace import (
    Backtrace,
    SourceLocation,
    decode,
    locate,
    parse_addr2line,
    parse_gdb_backtrace,
    return_addresses,
    suspected_kind,
)
from esp_hil.esp.bootlog import parse_boot, reset_kind
from esp_hil.esp.supervise import (
    CRASH_LINES,
    OMEN_LINES,
    Crash,
    CrashKind,
    Watch,
    crash_kind,
    crashed,
    parse_crash,
)
from esp_hil.targets import target

S3_BOOT = """\
ESP-ROM:esp32s3-20210327\r
Build:Mar 27 2021\r
rst:0x15 (USB_UART_CHIP_RESET),boot:0x8 (SPI_FAST_FLASH_BOOT)\r
Saved PC:0x40378f3a\r
SPIWP:0xee\r
mode:DIO, clock div:1\r
load:0x3fce2820,len:0x1158\r
entry 0x403c8940\r
\x1b[0;32mI (27) boot: ESP-IDF v5.4.2 2nd stage bootloader\x1b[0m\r
\x1b[0;32mI (27) boot: chip revision: v0.2\x1b[0m\r
\x1b[0;32mI (34) boot.esp32s3: Boot SPI Speed : 80MHz\x1b[0m\r
\x1b[0;32mI (39) boot.esp32s3: SPI Mode       : QIO\x1b[0m\r
\x1b[0;32mI (44) boot.esp32s3: SPI Flash Size : 16MB\x1b[0m\r
\x1b[0;32mI (53) boot: Partition Table:\x1b[0m\r
\x1b[0;32mI (57) boot: ## Label            Usage          Type ST Offset   Length\x1b[0m\r
\x1b[0;32mI (80) boot: End of partition table\x1b[0m\r
I (210) octal_psram: vendor id    : 0x0d (AP)\r
I (215) octal_psram: density      : 0x03 (64 Mbit)\r
I (260) esp_psram: Found 8MB PSRAM device\r
I (264) esp_psram: Speed: 80MHz\r
I (268) cpu_start: Multicore app\r
I (700) cpu_start: Pro cpu start user code\r
I (700) cpu_start: cpu freq: 240000000 Hz\r
I (700) app_init: Application information:\r
I (703) app_init: Project name:     esp_hil\r
I (708) app_init: App version:      0.1.0\r
I (720) app_init: ELF file SHA256:  0123abcd4...\r
I (726) app_init: ESP-IDF:          v5.3.5\r
"""

C3_PANIC = """\
Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.

Core  0 register dump:
MEPC    : 0x4200a2b4  RA      : 0x4200a2b0  SP      : 0x3fc9a3d0  GP      : 0x3fc8c600
TP      : 0x3fc8a1f0  T0      : 0x4005890e  T1      : 0x00000001  T2      : 0xffffffff
S0/FP   : 0x3fc9a3f0  S1      : 0x00000000  A0      : 0x00000000  A1      : 0x3fc9a3e0
MSTATUS : 0x00001881  MTVEC   : 0x40380001  MCAUSE  : 0x00000005  MTVAL   : 0x00000010
MHARTID : 0x00000000

Stack memory:
3fc9a3d0: 0x00000000 0x3fc9a3f0 0x00000001 0x42007654 0xa5a5a5a5 0xa5a5a5a5 0xa5a5a5a5 0xa5a5a5a5

ELF file SHA256: 0123abcd4

Rebooting...
"""

ESP32_PANIC = """\
Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.

Core  1 register dump:
PC      : 0x400d2a1e  PS      : 0x00060530  A0      : 0x800d3c1c  A1      : 0x3ffb5f40
EXCVADDR: 0x0000001c  LBEG    : 0x4000c46c  LEND    : 0x4000c477  LCOUNT  : 0xffffffff


Backtrace: 0x400d2a1b:0x3ffb5f40 0x400d3c19:0x3ffb5f60 0x40085f2d:0x3ffb5f80 |<-CORRUPTED


ELF file SHA256: 77fe12ab

Rebooting...
ets Jul 29 2019 12:21:46

rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)
"""

STACK_CANARY = """\
Guru Meditation Error: Core  0 panic'ed (Unhandled debug exception).
Debug exception reason: Stack canary watchpoint triggered (hil_engine)
Core  0 register dump:
PC      : 0x4037e1a4  PS      : 0x00060336  A0      : 0x8037d0f0  A1      : 0x3fca1230
"""

STACK_GUARD = """\
Guru Meditation Error: Core  0 panic'ed (Stack protection fault).

Detected in task "hil_engine" at 0x420065b2
Stack pointer: 0x3fc97f10
Stack bounds: 0x3fc97f24 - 0x3fc99f20
"""

TASK_WATCHDOG = """\
E (10316) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:
E (10316) task_wdt:  - hil_server (CPU 0)
E (10316) task_wdt: Tasks currently running:
E (10316) task_wdt: CPU 0: hil_engine
E (10316) task_wdt: Print CPU 0 (current core) backtrace
"""

# ESP-IDF 5.3 on a RISC-V chip: no line says abort or panic, and more than OMEN_LINES follow
TASK_WATCHDOG_DUMP = (
    TASK_WATCHDOG.replace("Print CPU 0 (current core) backtrace", "Aborting.")
    + "\n\nCore  0 register dump:\nMEPC    : 0x42008444  RA      : 0x42008442  SP      : 0x3fca67e0\n"
    + "\nStack memory:\n"
    + "3fca67e0: 0x00000000 0x00000000 0x00000000 0x42008562 0xa5a5a5a5 0xa5a5a5a5 0x00000000 0x00000000\n"
    * 60
    + "\nRebooting...\n"
)

TASK_WATCHDOG_PANIC = TASK_WATCHDOG.replace("Print CPU 0 (current core) backtrace", "Aborting.") + (
    "\r\nabort() was called at PC 0x4037a5cb on core 0\r\n"
)

EXAMPLES: list[tuple[CrashKind, str]] = [
    ("panic", C3_PANIC),
    ("panic", ESP32_PANIC),
    ("panic", "Guru Meditation Error: Core  0 panic'ed (Cache error).\n"),
    ("abort", "\r\nabort() was called at PC 0x42010f33 on core 0\r\n"),
    (
        "abort",
        "ESP_ERROR_CHECK failed: esp_err_t 0x105 (ESP_ERR_NOT_FOUND) at 0x42006d2c\n"
        "abort() was called at PC 0x40383f5d on core 0\n",
    ),
    ("assert", "\r\nassert failed: build_model main.cpp:41 (model != nullptr)\r\nCore  0 register dump:\r\n"),
    ("stack_overflow", STACK_CANARY),
    ("stack_overflow", STACK_GUARD),
    ("stack_overflow", "\r\n***ERROR*** A stack overflow in task hil_engine has been detected.\r\n"),
    (
        "overrun",
        "Stack smashing protect failure!\r\n\r\nabort() was called at PC 0x400d1f3c on core 0\n",
    ),
    (
        "heap_corruption",
        "CORRUPT HEAP: Bad tail at 0x3ffb6db0. Expected 0xbaad5678 got 0x00ad5678\n"
        "assert failed: multi_heap_free multi_heap_poisoning.c:279 (head != NULL)\n",
    ),
    ("heap_corruption", "assert failed: tlsf_free heap_tlsf.c:1120 (!block_is_free(block))\n"),
    ("out_of_memory", "\r\nMem alloc fail. size 0x0004ec00 caps 0x00001800\r\nCore  0 register dump:\r\n"),
    ("interrupt_watchdog", "Guru Meditation Error: Core  0 panic'ed (Interrupt wdt timeout on CPU0).\n"),
    ("task_watchdog", TASK_WATCHDOG_PANIC),
    ("task_watchdog", TASK_WATCHDOG_DUMP),
    (
        "out_of_memory",
        "E (312) hil: std::bad_alloc: operator new failed, largest block 2688 bytes\n"
        "\nabort() was called at PC 0x42007de3 on core 0\n",
    ),
    ("brownout", "E (118) BOD: Brownout detector was triggered\r\n\r\n"),
    ("flash_read", "flash read err, 1000\r\nets_main.c 371 \r\n"),
    ("invalid_image", "invalid header: 0xffffffff\r\n"),
    ("invalid_image", "csum err:0x9a!=0x5f\r\n"),
    ("invalid_image", "E (61) esp_image: image at 0x10000 has invalid magic byte (nothing flashed here?)\n"),
    ("invalid_image", "E (40) boot_comm: mismatch chip ID, expected 9, found 5\n"),
    ("partition_table", "E (55) flash_parts: partition 3 invalid magic number 0xffff\n"),
    ("partition_table", "E (63) boot: Failed to verify partition table\n"),
    ("partition_table", "E (63) boot: No bootable app partitions in the partition table\n"),
    (
        "psram",
        "E (235) octal_psram: PSRAM chip is not connected, or wrong PSRAM line mode\n"
        "E (240) cpu_start: Failed to init external RAM!\nabort() was called at PC 0x403768ad on core 0\n",
    ),
]


# one line of each kind of reason, as ESP-IDF, ESP-DL and TFLM print it
REASONS: list[tuple[CrashKind, str]] = [
    *(
        ("unsupported_operator", line)
        for line in (
            "Didn't find op for builtin opcode 'DEPTHWISE_CONV_2D'",
            "Didn't find op for builtin opcode 'CONV_2D' version '3'. An older version of this"
            " builtin might be supported.",
            "Failed to get registration from op code CUSTOM",
            "Failed to get registration from op code  3",
            "Missing registration for opcode_index 4",
            "Did not find a parser for CUMSUM",
            "Op builtin_code out of range: 207. Are you using old TFLite binary with newer model?",
            "Hybrid models are not supported on TFLite Micro.",
            "Type INT16 (7) not supported.",
            "Input type: FLOAT32 with filter type : INT8 not supported.",
            "Filter type INT8 (9) for input type FLOAT32 not supported.",
            "Current data type INT16 is not supported.",
            "Type 'INT64' is not supported by gather.",
            "E (512) tflm: Didn't find op for builtin opcode 'LOGISTIC'",
            "E (512) tflm: Type FLOAT16 (10) currently not supported by Exp.",
            "E (1234) dl::Model: Do not support Greater, please implement and register it first.",
            "E (1234) Pad: mode is not supported: reflect",
            "E (1234) resize: Don't support this mode: 2.",
            "E (1234) LUT: Only support QUANT_TYPE_SYMM_8BIT or QUANT_TYPE_SYMM_16BIT!",
            "ELU only supports float32 and int8 currently, got INT16.",
            "E (512) tflm: DIV only supports FLOAT32, INT32, quantized INT8 now, got type INT16 (7).",
            "Only float32, int8, and int16 types are supported.",
            "Only int32_t are supported currently, got INT64.",
            "Expand_Dims only currently supports int8, int16 and float32, got 2.",
            "BATCH_MATMUL doesn't support input type INT32",
            "DYNAMIC_UPDATE_SLICE: Operand type INT64 not supported.",
            "Op Concatenation does not currently support Type 'UINT8'.",
            "Unsupported combination of input and output types in DIV.",
            "E (512) tflm: Unsupported type FLOAT16",
            "Output type is 7, requires float or int8.",
            "Unhandled LSTM kernel type: 1",
            "Couldn't register builtin op #28, resolver size is too small (3).",
            "E (77) FbsModel: The quant type(3) is not support now",
            "E (77) TensorBase: The dtype don't support now!",
        )
    ),
    *(
        ("out_of_memory", line)
        for line in (
            "Failed to resize buffer. Requested: 98304, available 80000, missing: 18304",
            "Failed to allocate tail memory. Requested: 512, available 16, missing: 496",
            "Failed to allocate temp memory. Requested: 512, available 16, missing: 496",
            "Failed to allocate memory for context->eval_tensors, 1200 bytes required",
            "Failed to allocate variable tensor of size 640",
            "Arena size is too small for all buffers. Needed 98304 but only 65536 was available.",
            "Couldn't allocate memory of 140000 bytes",
            "Unable to allocate TfLiteAffineQuantization.",
            "ESP_ERROR_CHECK failed: esp_err_t 0x101 (ESP_ERR_NO_MEM) at 0x42001000",
            "E (812) quirc: memory allocation failed: ESP_ERR_NO_MEM",
            "E (812) app: malloc failed",
            "E (812) app: out of memory",
            "E (812) dl::tool: Failed to alloc 40.00KB memory, largest available block size 31.00KB.",
            "E (812) dl::tool: Input cap=0x800 can not callocate with MALLOC_CAP_SIMD, please try other caps.",
            "E (812) MemoryManagerGreedy: root_alloc failed",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "E (hil) hil: no memory for INFO; largest free block 960 bytes",
            "E (5) app: malloc of 3072 bytes failed",
            "E (5) app: heap_caps_malloc(196608) returned NULL",
            "E (5) app: not enough PSRAM for the arena",
            "Tried to allocate 50000 bytes, but only 20000 are left",
        )
    ),
    ("model_file", "E (1) FbsLoader: Model's flatbuffers is empty or broken."),
    ("model_file", "E (1) FbsLoader: Unsupported format, or the model file is corrupted!"),
    ("model_file", "E (1) FbsLoader: This is a cryptographic model, please enter the secret key!"),
    ("model_file", "E (1) FbsLoader: PDL3 package SHA256 verification failed."),
    ("model_file", "E (1) FbsLoader: Failed to open /sdcard/model.espdl."),
    ("model_file", "Model provided is schema version 2 not equal to supported version 3."),
    ("partition_table", "E (1) FbsLoader: Can not find model in partition table"),
    ("partition_table", "E (1) SPIFFS: spiffs partition could not be found"),
    ("partition_table", "E (1) app: no partition labelled model"),
    ("model", "AllocateTensors() failed"),
    ("model", "Node CONV_2D (number 0f) failed to prepare with status 1"),
    ("model", "E (2) dl::Model: Fail to load model"),
]
NONE_BOOTABLE = "E (81) boot: No bootable app partitions in the partition table"
THAT = (
    "AllocateTensors() failed\n"
    "E (999) dl::Model: Fail to load model\n"
    "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.\n"
    "Rebooting...\n"
)


@pytest.mark.parametrize(("kind", "line"), REASONS)
def test_a_line_that_says_why_outranks_those_that_only_say_that(kind: CrashKind, line: str) -> None:
    assert crash_kind(line) == kind
    for text in (f"{line}\n{THAT}", f"AllocateTensors() failed\n{line}\n{THAT}"):
        watch = Watch()
        watch.feed(text)
        crash = parse_crash(text)
        assert crash is not None
        assert watch.crash is not None
        assert (crash.kind, watch.crash.kind) == (kind, kind)
        if kind != "model":
            assert crash.reason in line


@pytest.mark.parametrize(
    "line",
    [
        "I (33) app: malloc failed once, tried again",
        "E (33) spi_master: mode 3 is not supported on this host",
        "W (33) i2c: clock stretching not supported",
        "E (33) esp_psram: PSRAM ECC not supported with this chip",
        "I (80) boot: End of partition table",
        "only two LEDs are supported here",
        "Unsupported baud rate",
        "E (33) adc: this type is not supported",
        "W (12) wifi: alloc eb len=24 type=2 fail, heap:1024",
    ],
)
def test_words_of_other_parts_are_no_operator_that_lacks(line: str) -> None:
    assert crash_kind(line) in {None, "out_of_memory"}


@pytest.mark.parametrize(
    "line",
    [
        "Failed to allocate resource variable. Maximum resource variable count (4) reached.",
        "Cannot allocate a new resizable buffer when one is already allocated",
    ],
)
def test_tflm_speaks_of_allocating_where_no_memory_lacks(line: str) -> None:
    assert crash_kind(line) != "out_of_memory"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("invalid_image", "E (73) boot_comm: Image requires chip rev >= v3.0, but chip is v1.0"),
        ("invalid_image", "E (73) boot_comm: Image requires chip rev <= v1.99, but chip is v3.1"),
        ("invalid_image", "E (73) boot_comm: mismatch chip ID, expected 18, found 9"),
        (
            "invalid_image",
            "E (73) esp_image: image at 0x10000 has invalid magic byte (nothing flashed here?)",
        ),
        ("flash_read", "E (73) esp_image: Image length 1064400 doesn't fit; flash_read failed"),
    ],
)
def test_why_the_loader_refuses_an_application_outranks_that_it_found_none(kind: CrashKind, why: str) -> None:
    said = f"{why}\nE (80) boot: Factory app partition is not bootable\n{NONE_BOOTABLE}\n"
    crash = parse_crash(said)
    assert crash is not None
    assert (crash.kind, crash.reason in why) == (kind, True)
    alone = parse_crash(NONE_BOOTABLE)
    assert alone is not None
    assert alone.kind == "partition_table"


def test_of_two_reasons_the_first_is_the_cause() -> None:
    crash = parse_crash("Didn't find op for builtin opcode 'EXP'\nFailed to allocate memory for x\n" + THAT)
    assert crash is not None
    assert crash.kind == "unsupported_operator"
    other = parse_crash("Failed to allocate memory for x\nDidn't find op for builtin opcode 'EXP'\n" + THAT)
    assert other is not None
    assert other.kind == "out_of_memory"


def test_an_abort_without_a_known_reason_tells_the_last_error_before_it() -> None:
    text = (
        "E (10) wifi: an old one\nE (11) camera: sensor 0x2640 answers nothing\nI (12) x: y\n"
        "abort() was called at PC 0x42010f33 on core 0\nE (13) later: too late\n"
    )
    watch = Watch()
    watch.feed(text)
    for crash in (parse_crash(text), watch.crash):
        assert crash is not None
        assert crash.kind == "abort"
        assert crash.reason.endswith("the last error before it: camera: sensor 0x2640 answers nothing")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("IllegalInstruction", "does not have"),
        ("Illegal instruction", "does not have"),
        ("LoadProhibited", "null"),
        ("Store access fault", "null"),
        ("Cache disabled but cached memory region accessed", "cache"),
        ("Cache error", "cache"),
        ("InstrFetchProhibited", "function pointer"),
        ("IntegerDivideByZero", "zero"),
    ],
)
def test_a_panic_s_hint_says_what_its_exception_usually_means(reason: str, words: str) -> None:
    crash = parse_crash(f"Guru Meditation Error: Core  0 panic'ed ({reason}). Exception was unhandled.\n")
    assert crash is not None
    assert words in crashed(crash).hint


def test_an_unsupported_operator_leads_to_hil_resolver() -> None:
    crash = parse_crash("Didn't find op for builtin opcode 'EXP'\nAllocateTensors() failed\n")
    assert crash is not None
    assert "hil resolver" in crashed(crash).hint


def test_a_lockup_is_a_class_of_its_own_and_told_by_the_rom() -> None:
    watch = Watch()
    watch.feed("ESP-ROM:esp32p4-eco2-20240710\nrst:0x1a (CPU_LOCKUP),boot:0x30f (SPI_FAST_FLASH_BOOT)\n")
    assert watch.crash is not None
    assert watch.crash.kind == "cpu_lockup"
    assert watch.boot.reset_kind == "cpu_lockup"


def seen(watch: Watch) -> Crash | None:
    """The watch's crash now; a call, because a type checker takes a property for constant."""
    return watch.crash


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_a_crash_gets_its_most_telling_class(kind: CrashKind, text: str) -> None:
    crash = parse_crash(text)
    assert crash is not None
    assert crash.kind == kind


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_a_crash_is_seen_in_the_stream_whatever_the_pieces(kind: CrashKind, text: str) -> None:
    for size in (1, 7, 4096):
        watch = Watch()
        whole = S3_BOOT + text + "\n"
        for start in range(0, len(whole), size):
            watch.feed(whole[start : start + size])
        assert watch.crash is not None
        assert watch.crash.kind == kind


def test_a_boot_log_is_no_crash() -> None:
    assert parse_crash(S3_BOOT) is None
    watch = Watch()
    watch.feed(S3_BOOT)
    assert watch.crash is None


def test_a_crash_is_known_at_its_first_line_and_grows_to_its_end() -> None:
    watch = Watch()
    first, rest = C3_PANIC.split("\n", 1)
    watch.feed(first)
    assert seen(watch) is None
    watch.feed("\n")
    begun = seen(watch)
    assert begun is not None
    assert not begun.registers
    ended = [watch.crash_ended]
    watch.feed(rest)
    whole = seen(watch)
    assert whole is not None
    assert whole.registers["MTVAL"] == 0x10
    assert [*ended, watch.crash_ended] == [False, True]


def test_xtensa_panics_give_pc_address_core_and_backtrace() -> None:
    crash = parse_crash(ESP32_PANIC)
    assert crash is not None
    assert (crash.core, crash.pc, crash.address) == (1, 0x400D2A1E, 0x1C)
    assert crash.backtrace == (0x400D2A1B, 0x400D3C19, 0x40085F2D)
    assert crash.elf_sha256 == "77fe12ab"
    assert crash.reason.startswith("Guru Meditation Error: Core  1 panic'ed (LoadProhibited)")


def test_riscv_panics_give_mepc_and_ra_where_there_is_no_backtrace() -> None:
    crash = parse_crash(C3_PANIC)
    assert crash is not None
    assert (crash.pc, crash.address) == (0x4200A2B4, 0x10)
    assert crash.backtrace == (0x4200A2B4, 0x4200A2B0)
    assert crash.registers["S0/FP"] == 0x3FC9A3F0


def test_an_abort_is_where_it_was_called_and_not_where_the_registers_are() -> None:
    crash = parse_crash(
        "abort() was called at PC 0x42010f33 on core 1\nMEPC    : 0x40380642  RA      : 0x1\n"
    )
    assert crash is not None
    assert (crash.pc, crash.core) == (0x42010F33, 1)


@pytest.mark.parametrize("text", [STACK_CANARY, STACK_GUARD, EXAMPLES[8][1]])
def test_a_stack_overflow_names_its_task(text: str) -> None:
    crash = parse_crash(text)
    assert crash is not None
    assert crash.task == "hil_engine"
    assert "HIL_ENGINE_STACK_BYTES" in str(crashed(crash))


def test_the_task_watchdog_names_the_task_that_did_not_report() -> None:
    crash = parse_crash(TASK_WATCHDOG)
    assert crash is not None
    assert crash.task == "hil_server"


def test_a_watchdog_that_only_barks_is_no_crash_and_one_that_aborts_is() -> None:
    watch = Watch()
    watch.feed(TASK_WATCHDOG)
    assert seen(watch) is None
    watch.feed("\r\nabort() was called at PC 0x4037a5cb on core 0\r\n")
    assert watch.crash is not None
    assert watch.crash.kind == "task_watchdog"


def test_memory_that_ran_out_explains_only_a_crash_that_follows_soon() -> None:
    omen = "E (900) MemoryManagerGreedy: root_alloc failed\n"
    panic = "Guru Meditation Error: Core  0 panic'ed (StoreProhibited). Exception was unhandled.\n"
    soon, late = Watch(), Watch()
    soon.feed(omen + "I (901) x: y\n" * (OMEN_LINES - 2) + panic)
    late.feed(omen + "I (901) x: y\n" * OMEN_LINES + panic)
    assert soon.crash is not None
    assert late.crash is not None
    assert (soon.crash.kind, late.crash.kind) == ("out_of_memory", "panic")


def test_a_crash_after_thousands_of_quiet_lines_is_seen_and_its_text_is_bounded() -> None:
    watch = Watch()
    watch.feed(TASK_WATCHDOG * 1000)
    watch.feed("abort() was called at PC 0x4037a5cb on core 0\n" + "noise\n" * 5 * CRASH_LINES)
    assert watch.crash is not None
    assert len(watch.crash.text.splitlines()) == CRASH_LINES


def test_restarts_are_counted_with_and_without_a_banner() -> None:
    watch = Watch()
    watch.feed(S3_BOOT)
    assert watch.boots == 1
    watch.feed(ESP32_PANIC)
    assert watch.boots == 2
    watch.feed("rst:0x10 (RTCWDT_RTC_RST),boot:0xc (SPI_FAST_FLASH_BOOT)\n" * 2)
    assert watch.boots >= 3


def test_the_next_crash_is_seen_after_clear() -> None:
    watch = Watch()
    watch.feed(ESP32_PANIC)
    watch.feed("E (118) BOD: Brownout detector was triggered\r\n")
    first = seen(watch)
    assert first is not None
    assert first.kind == "panic"
    watch.clear()
    assert seen(watch) is None
    watch.feed("E (118) BOD: Brownout detector was triggered\r\n")
    after = seen(watch)
    assert after is not None
    assert after.kind == "brownout"


@given(st.text(alphabet=st.characters(codec="latin-1")))
def test_any_text_is_digested_and_never_raises(text: str) -> None:
    watch = Watch()
    watch.feed(text)
    assert watch.boot is not None
    assert (crash_kind(text) is None) or parse_crash(text) is not None or "\n" in text


def test_a_boot_log_tells_memory_clock_and_versions() -> None:
    boot = parse_boot(S3_BOOT)
    assert boot.rom == "ESP-ROM:esp32s3-20210327"
    assert (boot.reset_code, boot.reset, boot.reset_kind) == (0x15, "USB_UART_CHIP_RESET", "usb")
    assert (boot.flash_bytes, boot.psram_bytes, boot.psram_mode, boot.psram_hz) == (
        16 << 20,
        8 << 20,
        "octal",
        80_000_000,
    )
    assert (boot.cpu_hz, boot.revision, boot.app, boot.app_version) == (240_000_000, 2, "esp_hil", "0.1.0")
    assert (boot.idf, boot.elf_sha256) == ("v5.3.5", "0123abcd4")
    assert boot.app_started
    assert not boot.download_mode


def test_the_loader_s_esp_idf_stands_until_the_application_names_its_own() -> None:
    assert parse_boot(S3_BOOT.partition("app_init")[0]).idf == "v5.4.2"


def test_missing_psram_is_told_from_psram_that_nobody_looked_for() -> None:
    assert parse_boot("I (200) cpu_start: Unicore app\n").psram_bytes is None
    text = "E (235) quad_psram: PSRAM ID read error: 0x00ffffff, PSRAM chip not found or not supported\n"
    assert parse_boot(text).psram_bytes == 0


def test_a_chip_that_waits_for_a_flasher_is_seen() -> None:
    text = "ESP-ROM:esp32c3-api1\nrst:0x1 (POWERON),boot:0x4 (DOWNLOAD(USB/UART0))\nwaiting for download\n"
    boot = parse_boot(text)
    assert boot.download_mode
    assert not boot.app_started


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("POWERON_RESET", "power_on"),
        ("RTCWDT_BROWN_OUT_RESET", "brownout"),
        ("TG0WDT_SYS_RESET", "watchdog"),
        ("RTC_SW_CPU_RST", "software"),
        ("DEEPSLEEP_RESET", "deep_sleep"),
        ("USB_UART_CHIP_RESET", "usb"),
        ("PWR_GLITCH_RESET", "glitch"),
        ("EFUSE_CRC_ERROR", "other"),
    ],
)
def test_reset_causes_of_all_roms_fall_into_classes(words: str, kind: str) -> None:
    assert reset_kind(words) == kind


def test_addr2line_s_inlined_frames_follow_their_address() -> None:
    text = (
        "0x42001234\nload()\n/src/model.h:12\nbuild(int)\n/src/main.cpp:40 (discriminator 3)\n"
        "0x40000000\n??\n??:0\n"
    )
    first, second, rom = parse_addr2line(text)
    assert (first.function, first.line, first.inlined) == ("load()", 12, True)
    assert (second.address, second.file, second.line, second.inlined) == (
        0x42001234,
        "/src/main.cpp",
        40,
        False,
    )
    assert (rom.function, rom.file, rom.line) == ("", "", 0)


def test_gdb_s_backtrace_is_read() -> None:
    text = (
        "0x4200a2b4 in run (model=0x0) at main/app_main.cpp:57\n57\tmodel->run();\n"
        "#0  0x4200a2b4 in run (model=0x0) at main/app_main.cpp:57\n"
        "#1  app_main () at main/app_main.cpp:80\n#2  0x40384fcc in ?? ()\n"
    )
    frames = parse_gdb_backtrace(text)
    assert [(frame.address, frame.function, frame.line) for frame in frames] == [
        (0x4200A2B4, "run", 57),
        (0, "app_main", 80),
        (0x40384FCC, "", 0),
    ]


def test_a_riscv_dump_gives_the_words_of_its_stack() -> None:
    crash = parse_crash(TASK_WATCHDOG_DUMP)
    assert crash is not None
    assert crash.stack[:4] == (0, 0, 0, 0x42008562)
    assert len(crash.stack) == 8 * 60


def test_an_abort_s_backtrace_begins_where_it_was_called() -> None:
    crash = parse_crash(
        "abort() was called at PC 0x42010f33 on core 0\nMEPC    : 0x40380642  RA      : 0x40380640\n"
    )
    assert crash is not None
    assert crash.backtrace == (0x42010F33,)


RISCV_CALLS = """
    .text
    .global code
code:
    .long 0x000000ef  # jal ra
    .long 0x000780e7  # jalr ra, a5
    .long 0x00000013  # nop: no call
    .short 0x0001, 0x9782  # c.nop; c.jalr a5
    .short 0x0001, 0x2001  # c.nop; c.jal
    .short 0x0001, 0x8782  # c.nop; c.jr a5: no call
    .global main
main:
    .long 0
"""


def test_return_addresses_are_words_behind_a_riscv_call(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make an ELF with")
    source, elf = tmp_path / "calls.s", tmp_path / "calls.elf"
    source.write_text(RISCV_CALLS)
    subprocess.run([compiler, "-no-pie", "-o", elf, source], check=True)
    start = symbol(elf, "code")
    found = return_addresses([start + at for at in (4, 8, 12, 16, 20, 24, 6)] + [0, 0xFFFFFFFF], elf)
    assert [address - start for address in found] == [4, 8, 16, 20]


@pytest.mark.parametrize(
    ("kind", "function", "suspected"),
    [
        ("panic", "remove_free_block", "heap_corruption"),
        ("panic", "tlsf_malloc", "heap_corruption"),
        ("abort", "operator new(unsigned int)", "out_of_memory"),
        ("panic", "app_main", "panic"),
        ("brownout", "tlsf_malloc", "brownout"),
    ],
)
def test_the_frames_may_tell_more_than_the_words(
    kind: CrashKind, function: str, suspected: CrashKind
) -> None:
    crash = parse_crash("Guru Meditation Error: Core  0 panic'ed (Store access fault).\n")
    assert crash is not None
    trace = Backtrace(frames=(SourceLocation(address=1, function=function),))
    assert suspected_kind(replace(crash, kind=kind), trace) == suspected


def symbol(elf: Path, name: str) -> int:
    """The address of a symbol."""
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return int(next(s["st_value"] for s in table.iter_symbols() if s.name == name))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A small ELF with debug information, and an address inside its function `faulty` (line 2)."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make an ELF with")
    folder = tmp_path_factory.mktemp("elf")
    source = folder / "faulty.c"
    source.write_text(
        "int faulty(volatile int *where) {\n  return *where;\n}\nint main(void) { return 0; }\n"
    )
    elf = folder / "faulty.elf"
    subprocess.run([compiler, "-g", "-O0", "-no-pie", "-o", elf, source], check=True)
    address = symbol(elf, "faulty")
    return elf, address + 8  # past the prologue, where the return statement is


def test_the_line_table_names_function_and_line_without_a_toolchain(program: tuple[Path, int]) -> None:
    elf, address = program
    (frame,) = locate((address,), elf, prefix="no-such-toolchain-")
    assert (frame.function, frame.file, frame.line) == ("faulty", "faulty.c", 2)


def test_an_address_outside_the_program_stays_bare(program: tuple[Path, int]) -> None:
    (frame,) = locate((0x10,), program[0], prefix="no-such-toolchain-")
    assert str(frame) == "0x00000010 ?"


def test_addr2line_and_the_line_table_agree(program: tuple[Path, int]) -> None:
    if shutil.which("addr2line") is None:
        pytest.skip("no addr2line")
    elf, address = program
    (by_tool,) = locate((address,), elf, prefix="")
    (by_table,) = locate((address,), elf, prefix="no-such-toolchain-")
    assert (by_tool.function, by_tool.line) == (by_table.function, by_table.line)
    assert by_tool.file.endswith(by_table.file)


def test_a_crash_of_another_image_is_not_decoded(program: tuple[Path, int]) -> None:
    elf, address = program
    crash = parse_crash(
        f"Guru Meditation Error: Core  0\nMEPC    : {address:#010x}\nELF file SHA256: 00ff00ff\n"
    )
    assert crash is not None
    trace = decode(crash, elf, target("esp32c3"))
    assert "not what crashed" in trace.doubt
    assert trace.frames[0].function == ""


def test_a_crash_of_this_image_is_decoded(program: tuple[Path, int]) -> None:
    elf, address = program
    begins = hashlib.sha256(elf.read_bytes()).hexdigest()[:9]
    crash = parse_crash(
        f"Guru Meditation Error: Core  0\nMEPC    : {address:#010x}\nELF file SHA256: {begins}\n"
    )
    assert crash is not None
    trace = decode(crash, elf, target("esp32c3"))
    assert trace.frames[0].function == "faulty"
    assert "faulty.c:2" in str(trace)


def test_without_an_elf_the_addresses_stay_and_it_says_what_to_give() -> None:
    crash = parse_crash(ESP32_PANIC)
    assert crash is not None
    trace = decode(crash, None, target("esp32"))
    assert [frame.address for frame in trace.frames] == [0x400D2A1B, 0x400D3C19, 0x40085F2D]
    assert "build folder" in trace.doubt
