// The chip of a virtual MicroPython board: the interpreter as WebAssembly between three pipes.
//
//   node console.mjs MICROPYTHON_MJS LIBRARY_FOLDER ASK_DESCRIPTOR ANSWER_DESCRIPTOR INTERRUPT_DESCRIPTOR
//
// Standard input and output are the UART. Two descriptors lead to the process that has the flash and the
// networks; each message is two little-endian uint32 (length of JSON, length of payload) and both. The third is what
// the UART's interrupt handler is on a chip: for each control-C in the input, a uint32 of how many bytes have come.
// Everything is synchronous: the interpreter is one thread, and so is this program.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [interpreterFile, libraryFolder, ...descriptors] = process.argv.slice(2);
const [askDescriptor, answerDescriptor, interruptDescriptor] = descriptors.map(Number);
const { loadMicroPython } = await import(pathToFileURL(path.resolve(interpreterFile)));

const HEAP_BYTES = 8 * 1024 * 1024; // the PSRAM of the boards that images are published for
const PYSTACK_WORDS = 16 * 1024;
const UART_READ_BYTES = 64; // small, so that what the interpreter has not taken stays in the pipe, where it is counted
const WINDOW_BYTES = 128;
const POLL_MS = 5;
const FLUSH_BYTES = 512;
const ENOSPC = 51; // Emscripten's number
const FORCED_EXIT = 0x100;
const [CTRL_A, CTRL_B, CTRL_C, CTRL_D, CTRL_E] = [1, 2, 3, 4, 5];

// pipes

function sleepUntilReady() {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}

function readSome(descriptor, buffer, offset, length) {
  for (;;) {
    try {
      return fs.readSync(descriptor, buffer, offset, length, null);
    } catch (error) {
      if (error.code === "EOF") return 0;
      if (error.code !== "EAGAIN") throw error;
      sleepUntilReady();
    }
  }
}

function readExactly(descriptor, length) {
  const buffer = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const count = readSome(descriptor, buffer, done, length - done);
    if (count === 0) process.exit(0);
    done += count;
  }
  return buffer;
}

function writeAll(descriptor, data) {
  for (let done = 0; done < data.length; ) {
    try {
      done += fs.writeSync(descriptor, data, done, data.length - done);
    } catch (error) {
      if (error.code === "EPIPE") process.exit(0);
      if (error.code !== "EAGAIN") throw error;
      sleepUntilReady();
    }
  }
}

// UART

let received = Buffer.alloc(0);
let receivedFrom = 0;
let receivedCount = 0; // since power-on
let polledAt = 0;
let unsent = [];

function flush() {
  if (unsent.length) writeAll(1, Buffer.from(unsent));
  unsent = [];
}

function transmit(text) {
  for (const byte of Buffer.from(text, "latin1")) unsent.push(byte);
}

function receiveByte() {
  if (receivedFrom === received.length) {
    flush();
    const buffer = Buffer.alloc(UART_READ_BYTES);
    const count = readSome(0, buffer, 0, UART_READ_BYTES);
    if (count === 0) process.exit(0);
    receivedCount += count;
    received = buffer.subarray(0, count);
    receivedFrom = 0;
  }
  return received[receivedFrom++];
}

// How many bytes had come when the newest control-C did; 0 if none came since the last time.
function interruptedAt() {
  const buffer = Buffer.alloc(4096);
  try {
    const count = fs.readSync(interruptDescriptor, buffer, 0, buffer.length, null);
    return count < 4 ? 0 : buffer.readUInt32LE(count - 4);
  } catch (error) {
    if (error.code === "EAGAIN" || error.code === "EOF") return 0;
    throw error;
  }
}

// While a program runs, control-C is taken out of what has come and interrupts it, whether it reads or not.
function pollInterrupt() {
  if (performance.now() - polledAt < POLL_MS) return;
  polledAt = performance.now();
  const come = interruptedAt() - receivedCount;
  if (come > 0) {
    received = Buffer.concat([received.subarray(receivedFrom), readExactly(0, come)]);
    receivedFrom = 0;
    receivedCount += come;
  }
  const character = micropython._module._mp_hal_get_interrupt_char();
  if (character < 0 || !received.subarray(receivedFrom).includes(character)) return;
  received = Buffer.from(received.subarray(receivedFrom).filter((byte) => byte !== character));
  receivedFrom = 0;
  micropython._module._mp_sched_keyboard_interrupt();
}

// the other process

function ask(header, payload = Buffer.alloc(0)) {
  const words = Buffer.from(JSON.stringify(header));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32LE(words.length, 0);
  lengths.writeUInt32LE(payload.length, 4);
  writeAll(askDescriptor, Buffer.concat([lengths, words, payload]));
  const answer = readExactly(answerDescriptor, 8);
  const json = readExactly(answerDescriptor, answer.readUInt32LE(0));
  const rest = readExactly(answerDescriptor, answer.readUInt32LE(4));
  return { answer: JSON.parse(json.toString()), json, payload: rest };
}

// the interpreter

let micropython;
let swallow = 0; // so many bytes of the interpreter's output are not sent

function onOutput(bytes) {
  if (swallow > 0) {
    swallow -= bytes.length;
    return;
  }
  for (const byte of bytes) unsent.push(byte);
  if (unsent.length >= FLUSH_BYTES) flush();
  pollInterrupt();
}

// What sys.stdin reads. As on a chip, the interrupt character never arrives: it raises KeyboardInterrupt.
function onInput() {
  const byte = receiveByte();
  if (byte === micropython._module._mp_hal_get_interrupt_char()) {
    micropython._module._mp_sched_keyboard_interrupt();
    return null;
  }
  return byte;
}

// A device file: what is written is asked, what is read is the answer.
function addHelperDevice(FS) {
  let asked = Buffer.alloc(0);
  let answer = Buffer.alloc(0);
  const device = FS.makedev(64, 0);
  FS.registerDevice(device, {
    write(stream, buffer, offset, length) {
      asked = Buffer.concat([asked, Buffer.from(buffer.buffer, buffer.byteOffset + offset, length)]);
      if (asked.length < 8) return length;
      const [head, body] = [asked.readUInt32LE(0), asked.readUInt32LE(4)];
      if (asked.length < 8 + head + body) return length;
      const header = JSON.parse(asked.subarray(8, 8 + head).toString());
      const { json, payload } = ask(header, asked.subarray(8 + head, 8 + head + body));
      const lengths = Buffer.alloc(8);
      lengths.writeUInt32LE(json.length, 0);
      lengths.writeUInt32LE(payload.length, 4);
      answer = Buffer.concat([lengths, json, payload]);
      asked = Buffer.alloc(0);
      return length;
    },
    read(stream, buffer, offset, length) {
      const count = Math.min(length, answer.length);
      new Uint8Array(buffer.buffer, buffer.byteOffset + offset, count).set(answer.subarray(0, count));
      answer = answer.subarray(count);
      return count;
    },
  });
  FS.mkdev("/dev/espdl", 0o666, device);
}

// A device file: a float64 that is written is slept, in milliseconds; what is read is the time in microseconds.
function addClock(FS) {
  const device = FS.makedev(65, 0);
  FS.registerDevice(device, {
    write(stream, buffer, offset, length) {
      flush();
      const ms = Buffer.from(buffer.buffer, buffer.byteOffset + offset, length).readDoubleLE(0);
      if (ms > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
      pollInterrupt();
      return length;
    },
    read(stream, buffer, offset, length) {
      const now = Buffer.alloc(8);
      now.writeBigUInt64LE(process.hrtime.bigint() / 1000n);
      const count = Math.min(length, 8);
      new Uint8Array(buffer.buffer, buffer.byteOffset + offset, count).set(now.subarray(0, count));
      return count;
    },
  });
  FS.mkdev("/dev/clock", 0o666, device);
}

const SYSTEM = ["/dev", "/lib", "/proc", "/tmp", "/home"];

function onFlash(file) {
  return file !== "/" && !SYSTEM.some((folder) => file === folder || file.startsWith(folder + "/"));
}

// The file system lives in memory; every change of it is told to the flash at once and in the order it is made.
function addFlash(FS) {
  const { answer } = ask({ op: "files" });
  for (const folder of answer.folders) FS.mkdir(folder);
  for (const file of answer.files) FS.writeFile(file, ask({ op: "load", path: file }).payload);
  const fileOf = (stream) => (stream.node ? FS.getPath(stream.node) : "");
  const after = (name, tell) => {
    const original = FS[name].bind(FS);
    FS[name] = (...given) => {
      const result = original(...given);
      tell(result, ...given);
      return result;
    };
  };
  after("write", (count, stream, buffer, offset, length, position) => {
    const file = fileOf(stream);
    if (!onFlash(file) || count <= 0) return;
    const at = typeof position === "number" ? position : stream.position - count;
    const data = Buffer.from(buffer.buffer, buffer.byteOffset + offset, count);
    if (ask({ op: "store", path: file, at }, data).answer.full) throw new FS.ErrnoError(ENOSPC);
  });
  after("open", (stream, name, flags) => {
    const file = fileOf(stream);
    const number = typeof flags === "number" ? flags : 0;
    if (onFlash(file) && number & 0o1100) ask({ op: "create", path: file, empty: (number & 0o1000) !== 0 });
  });
  after("close", (_, stream) => {
    const file = fileOf(stream);
    if (onFlash(file) && (stream.flags & 3) !== 0) ask({ op: "close", path: file });
  });
  after("unlink", (_, file) => tellOf("remove", file));
  after("rmdir", (_, file) => tellOf("remove_folder", file));
  after("mkdir", (_, file) => tellOf("make_folder", file));
  after("rename", (_, old, file) => {
    if (onFlash(old)) ask({ op: "rename", path: old, to: file });
  });
  const tellOf = (op, file) => {
    if (onFlash(file)) ask({ op, path: file });
  };
}

async function start() {
  micropython = await loadMicroPython({
    heapsize: HEAP_BYTES,
    pystack: PYSTACK_WORDS,
    linebuffer: false,
    stdin: onInput,
    stdout: onOutput,
    stderr: onOutput,
  });
  addHelperDevice(micropython.FS);
  addClock(micropython.FS);
  micropython.FS.mkdir("/lib");
  for (const name of fs.readdirSync(libraryFolder)) {
    if (name.endsWith(".py")) {
      micropython.FS.writeFile(`/lib/${name}`, fs.readFileSync(path.join(libraryFolder, name)));
    }
  }
  // this build has modules of its own in front of the folder
  micropython.runPython('__import__("sys").path.insert(0, "/lib")');
  addFlash(micropython.FS);
}

// Raw paste. This port's interpreter has no input that waits, which the mode needs, so that the window is kept here:
// shared/runtime/pyexec.c answers R 1, the window's size and one more window, then 1 after each window.
function receivePaste() {
  transmit("R\x01");
  transmit(String.fromCharCode(WINDOW_BYTES & 0xff, WINDOW_BYTES >> 8, 1));
  const script = [];
  for (let left = WINDOW_BYTES; ; ) {
    const byte = receiveByte();
    if (byte === CTRL_C || byte === CTRL_D) {
      transmit("\x04");
      flush(); // a program that does not print still was taken
      return byte === CTRL_D ? script : null;
    }
    script.push(byte);
    if (--left === 0) {
      transmit("\x01");
      left = WINDOW_BYTES;
    }
  }
}

function run(script) {
  for (const byte of script) micropython.replProcessChar(byte);
  swallow = 2; // "OK", which raw paste does not say
  return micropython.replProcessChar(CTRL_D);
}

let raw = false;
let line = []; // what has come since the raw prompt

function feedRaw(byte) {
  if (byte === CTRL_A && line.length === 2 && line[0] === CTRL_E) {
    line = [];
    micropython.replProcessChar(CTRL_C);
    const script = receivePaste();
    if (script === null) {
      transmit("\x04\r\nKeyboardInterrupt:\r\n\x04>");
      return 0;
    }
    return run(script);
  }
  if (byte === CTRL_A || byte === CTRL_C || byte === CTRL_D) line = [];
  else if (line.length < 3) line.push(byte);
  if (byte === CTRL_B) raw = false;
  return micropython.replProcessChar(byte);
}

function feed(byte) {
  if (raw) return feedRaw(byte);
  const result = micropython.replProcessChar(byte);
  if (byte === CTRL_A) {
    raw = true;
    line = [];
  }
  return result;
}

function interruptBy(character) {
  micropython.runPython(`__import__("micropython").kbd_intr(${character})`);
}

// ports/esp32/main.c: a file that is there; false if it ended in an exception.
function runFile(file) {
  let program;
  try {
    program = micropython.FS.readFile(file, { encoding: "utf8" });
  } catch {
    return true;
  }
  try {
    interruptBy(CTRL_C);
    micropython.runPython(program);
    return true;
  } catch (error) {
    if (error.type === undefined) throw error;
    transmit(error.message.replace('"<stdin>"', `"${file.slice(1)}"`).replaceAll("\n", "\r\n"));
    return false;
  } finally {
    interruptBy(-1);
  }
}

// boot.py, then main.py unless the raw REPL is on; the banner comes when they have ended
function boot() {
  if (runFile("/boot.py") && !raw) runFile("/main.py");
  const before = unsent.length;
  micropython.replInit();
  if (raw) {
    // a chip stays in the raw REPL and does not show its banner
    unsent.length = before;
    micropython.replProcessChar(CTRL_A);
  }
  flush();
}

await start();
boot();
for (;;) {
  const result = feed(receiveByte());
  swallow = 0;
  if (result & FORCED_EXIT) {
    transmit("MPY: soft reboot\r\n");
    flush();
    await start();
    boot();
  }
}
