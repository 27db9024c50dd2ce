#include "hil/messages.h"

namespace hil {

namespace {

template <typename Message>
std::optional<Message> complete(const Reader& reader, const Message& message) {
  if (!reader.ok_and_empty()) return std::nullopt;
  return message;
}

}  // namespace

std::optional<Hello> parse_hello(Bytes payload) {
  Reader reader(payload);
  Hello hello{};
  hello.version_min = reader.u8();
  hello.version_max = reader.u8();
  hello.nonce = reader.u32();
  hello.max_payload = reader.u16();
  return complete(reader, hello);
}

std::optional<OpenWrite> parse_open_write(Bytes payload) {
  Reader reader(payload);
  OpenWrite open{};
  open.object = static_cast<Object>(reader.u8());
  open.index = reader.u16();
  open.slot = reader.u16();
  open.length = reader.u32();
  open.crc = reader.u32();
  return complete(reader, open);
}

std::optional<OpenRead> parse_open_read(Bytes payload) {
  Reader reader(payload);
  OpenRead open{};
  open.object = static_cast<Object>(reader.u8());
  open.index = reader.u16();
  open.slot = reader.u16();
  open.offset = reader.u32();
  open.length = reader.u32();
  return complete(reader, open);
}

std::optional<Load> parse_load(Bytes payload) {
  Reader reader(payload);
  Load load{};
  load.location = reader.u8();
  load.cores = reader.u8();
  load.options = reader.u16();
  load.path = reader.bytes(reader.rest().size());
  return complete(reader, load);
}

std::optional<Run> parse_run(Bytes payload) {
  Reader reader(payload);
  Run run{};
  run.slot = reader.u16();
  run.flags = reader.u8();
  run.cores = reader.u8();
  run.warmup = reader.u16();
  run.repeats = reader.u16();
  run.name = reader.bytes(reader.u8());
  if (run.has(Run::kGolden)) run.record = reader.u32();
  if (run.has(Run::kExpect)) run.digest = reader.bytes(Run::kDigestBytes);
  run.inputs = reader.bytes(reader.rest().size());
  const bool used = (run.inputs.empty() || run.has(Run::kInlineInputs)) && (run.name.empty() != run.has(Run::kCapture));
  const bool one_source = !run.has(Run::kGolden) || !run.has(Run::kInlineInputs);
  const bool packs_something = !run.has(Run::kPacked) || run.has(Run::kInlineInputs);
  if (!used || !one_source || !packs_something) return std::nullopt;
  return complete(reader, run);
}

std::optional<Cancel> parse_cancel(Bytes payload) {
  Reader reader(payload);
  Cancel cancel{};
  cancel.transfer = reader.u16();
  return complete(reader, cancel);
}

std::optional<Reset> parse_reset(Bytes payload) {
  Reader reader(payload);
  const std::uint8_t mode = reader.u8();
  if (mode > static_cast<std::uint8_t>(ResetMode::kRomLoader)) return std::nullopt;
  return complete(reader, Reset{static_cast<ResetMode>(mode)});
}

std::optional<Line> parse_line(Bytes payload) {
  Reader reader(payload);
  Line line{};
  line.baud = reader.u32();
  line.trial_ms = reader.u16();
  line.pad = reader.u8();
  return complete(reader, line);
}

std::optional<Prbs> parse_prbs(Bytes payload) {
  Reader reader(payload);
  Prbs prbs{};
  prbs.frames = reader.u16();
  prbs.bytes = reader.u16();
  return complete(reader, prbs);
}

std::optional<GoldenSet> parse_golden(Bytes payload) {
  Reader reader(payload);
  GoldenSet set;
  set.records = reader.u32();
  set.record_bytes = reader.u32();
  copy_bytes(set.name.data(), reader.bytes(set.name.size()));
  return complete(reader, set);
}

std::optional<GateRequest> parse_gate(Bytes payload) {
  Reader reader(payload);
  GateRequest gate{};
  gate.pin = reader.u8();
  gate.level = reader.u8();
  if (gate.level > 1) return std::nullopt;
  return complete(reader, gate);
}

std::optional<PatternFrame> parse_pattern(Bytes payload) {
  Reader reader(payload);
  PatternFrame frame{};
  frame.number = reader.u16();
  frame.bytes = reader.bytes(reader.rest().size());
  return complete(reader, frame);
}

std::optional<Data> parse_data(Bytes payload) {
  Reader reader(payload);
  Data data{};
  data.transfer = reader.u16();
  data.offset = reader.u32();
  data.bytes = reader.bytes(reader.rest().size());
  return complete(reader, data);
}

std::optional<Ack> parse_ack(Bytes payload) {
  Reader reader(payload);
  Ack ack{};
  ack.transfer = reader.u16();
  ack.status = static_cast<Status>(reader.u8());
  ack.cumulative = reader.u32();
  ack.credit = reader.u32();
  while (reader.ok() && !reader.rest().empty()) {
    if (ack.range_count == RangeSet::kMaxRanges) return std::nullopt;
    Range& range = ack.ranges[ack.range_count++];
    range.start = reader.u32();
    range.end = reader.u32();
    if (range.start >= range.end) return std::nullopt;
  }
  return complete(reader, ack);
}

void write(Writer& to, const HelloAnswer& answer) {
  to.u8(answer.version).u32(answer.boot_id).u16(answer.max_payload).u32(answer.rx_window);
  to.u8(answer.slots).u8(answer.queue).u8(answer.flags);
}

void write(Writer& to, const RunAnswer& answer) { to.u64(answer.cold).u64(answer.last).u16(answer.repeats); }

void write(Writer& to, const Ack& ack) {
  to.u16(ack.transfer).u8(static_cast<std::uint8_t>(ack.status)).u32(ack.cumulative).u32(ack.credit);
  for (std::size_t i = 0; i < ack.range_count; ++i) to.u32(ack.ranges[i].start).u32(ack.ranges[i].end);
}

}  // namespace hil
