// The messages of docs/PROTOCOL.md, section 3: requests parsed into values, answers written from values.
// A parser gives nothing unless the whole payload has the message's form.
#pragma once

#include <cstdint>
#include <optional>

#include "hil/bytes.h"
#include "hil/ranges.h"
#include "hil/sha256.h"
#include "hil/status.h"

namespace hil {

constexpr std::uint8_t kProtocolVersion = 1;
constexpr std::uint32_t kWholeObject = 0xFFFFFFFF;

namespace kind {
constexpr std::uint8_t kHello = 0x80;
constexpr std::uint8_t kOpenWrite = 0x81;
constexpr std::uint8_t kOpenRead = 0x82;
constexpr std::uint8_t kLoad = 0x83;
constexpr std::uint8_t kRun = 0x84;
constexpr std::uint8_t kCancel = 0x85;
constexpr std::uint8_t kReset = 0x86;
constexpr std::uint8_t kPing = 0x87;
constexpr std::uint8_t kLine = 0x88;
constexpr std::uint8_t kPrbs = 0x89;
constexpr std::uint8_t kGolden = 0x8A;
constexpr std::uint8_t kGate = 0x8B;
constexpr std::uint8_t kLastRequest = 0x8F;
constexpr std::uint8_t kAnswer = 0x20;  // added to the request's kind
constexpr std::uint8_t kData = 0x90;
constexpr std::uint8_t kAck = 0x91;
constexpr std::uint8_t kPacked = 0x92;
constexpr std::uint8_t kPattern = 0x93;
constexpr std::uint8_t kFault = 0xB0;
constexpr std::uint8_t kBoot = 0xB1;
constexpr std::uint8_t kLog = 0xB2;
}  // namespace kind

enum class Object : std::uint8_t {
  kInfo = 0,
  kModel = 1,
  kInput = 2,
  kOutput = 3,
  kTensor = 4,
  kProfile = 5,
  kCounters = 6,
  kCycles = 7,
  kGolden = 8,
};

struct Hello {
  std::uint8_t version_min;
  std::uint8_t version_max;
  std::uint32_t nonce;
  std::uint16_t max_payload;
};

struct OpenWrite {
  Object object;
  std::uint16_t index;
  std::uint16_t slot;
  std::uint32_t length;
  std::uint32_t crc;
};

struct OpenRead {
  Object object;
  std::uint16_t index;
  std::uint16_t slot;
  std::uint32_t offset;
  std::uint32_t length;
};

struct Load {
  std::uint8_t location;
  std::uint8_t cores;
  std::uint16_t options;
  Bytes path;
};

struct Run {
  static constexpr std::uint8_t kInlineInputs = 1;
  static constexpr std::uint8_t kInlineOutputs = 2;
  static constexpr std::uint8_t kCapture = 4;
  static constexpr std::uint8_t kProfile = 8;
  static constexpr std::uint8_t kGolden = 16;  // the inputs are a record of the open golden set
  static constexpr std::uint8_t kExpect = 32;  // outputs only if their digest is another one
  static constexpr std::uint8_t kPacked = 64;  // the inline inputs are a raw DEFLATE stream
  static constexpr std::uint8_t kGate = 128;   // the gate is high while the repetitions run, and their time is answered
  static constexpr std::size_t kDigestBytes = 16;  // the first ones of the SHA-256

  std::uint16_t slot;
  std::uint8_t flags;
  std::uint8_t cores;
  std::uint16_t warmup;
  std::uint16_t repeats;
  Bytes name;
  std::uint32_t record;  // with kGolden
  Bytes digest;          // with kExpect
  Bytes inputs;          // inline

  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

struct Cancel {
  std::uint16_t transfer;
};

enum class ResetMode : std::uint8_t { kRestart = 0, kRomLoader = 1 };

struct Reset {
  ResetMode mode;
};

// Pad: bytes of 00 that end what is sent, so that a bridge need not wait for more.
struct Line {
  std::uint32_t baud;  // 0: the present one
  std::uint16_t trial_ms;
  std::uint8_t pad;
};

struct Prbs {
  std::uint16_t frames;
  std::uint16_t bytes;
};

struct GoldenSet {
  std::uint32_t records = 0;
  std::uint32_t record_bytes = 0;
  Sha256::Digest name{};

  std::uint64_t bytes() const { return std::uint64_t{records} * record_bytes; }
};

struct GateRequest {
  std::uint8_t pin;  // Gate::kNone: none
  std::uint8_t level;
};

struct PatternFrame {
  std::uint16_t number;
  Bytes bytes;
};

struct Data {
  std::uint16_t transfer;
  std::uint32_t offset;
  Bytes bytes;
};
constexpr std::size_t kDataHeaderBytes = 6;
constexpr std::uint32_t kInitialCredit = 65536;  // of a read, before the first ACK

struct Ack {
  std::uint16_t transfer;
  Status status;
  std::uint32_t cumulative;
  std::uint32_t credit;
  std::size_t range_count;
  Range ranges[RangeSet::kMaxRanges];
};
constexpr std::size_t kAckLimitBytes = 11 + 8 * RangeSet::kMaxRanges;

std::optional<Hello> parse_hello(Bytes payload);
std::optional<OpenWrite> parse_open_write(Bytes payload);
std::optional<OpenRead> parse_open_read(Bytes payload);
std::optional<Load> parse_load(Bytes payload);
std::optional<Run> parse_run(Bytes payload);
std::optional<Cancel> parse_cancel(Bytes payload);
std::optional<Reset> parse_reset(Bytes payload);
std::optional<Line> parse_line(Bytes payload);
std::optional<Prbs> parse_prbs(Bytes payload);
std::optional<GoldenSet> parse_golden(Bytes payload);
std::optional<GateRequest> parse_gate(Bytes payload);
std::optional<PatternFrame> parse_pattern(Bytes payload);
std::optional<Data> parse_data(Bytes payload);
std::optional<Ack> parse_ack(Bytes payload);

struct HelloAnswer {
  static constexpr std::uint8_t kLoaded = 1;
  static constexpr std::uint8_t kRunning = 2;
  static constexpr std::uint8_t kLine = 4;     // knows LINE, PRBS and PATTERN
  static constexpr std::uint8_t kGolden = 8;   // keeps golden sets
  static constexpr std::uint8_t kPacked = 16;  // unpacks PACKED frames and inputs
  static constexpr std::uint8_t kGate = 32;    // has pins that can be the gate

  std::uint8_t version;
  std::uint32_t boot_id;
  std::uint16_t max_payload;
  std::uint32_t rx_window;
  std::uint8_t slots;
  std::uint8_t queue;
  std::uint8_t flags;
};

struct RunAnswer {
  static constexpr std::size_t kFixedBytes = 1 + 8 + 8 + 2;  // with the status

  std::uint64_t cold;
  std::uint64_t last;
  std::uint16_t repeats;
};

// Each puts the body of its message, without the status byte of an answer.
void write(Writer& to, const HelloAnswer& answer);
void write(Writer& to, const RunAnswer& answer);
void write(Writer& to, const Ack& ack);

}  // namespace hil
