// tests/vectors/wire.jsonl: the bytes that the Python side and this one must agree on.
#include <fstream>
#include <map>
#include <sstream>

#include "check.h"
#include "hil/inflate.h"
#include "hil/pattern.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

// A flat JSON object: strings without escapes, and numbers.
using Row = std::map<std::string, std::string>;

Row parse_row(const std::string& line) {
  Row row;
  std::size_t at = 0;
  while ((at = line.find('"', at)) != std::string::npos) {
    const std::size_t key_end = line.find('"', at + 1);
    const std::string key = line.substr(at + 1, key_end - at - 1);
    at = line.find_first_not_of(": ", key_end + 1);
    const bool quoted = line.at(at) == '"';
    const std::size_t end = quoted ? line.find('"', at + 1) : line.find_first_of(",}", at);
    row[key] = quoted ? line.substr(at + 1, end - at - 1) : line.substr(at, end - at);
    at = end + 1;
  }
  return row;
}

std::vector<Row> rows() {
  std::vector<Row> all;
  std::ifstream file(HIL_VECTORS);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) all.push_back(parse_row(line));
  }
  return all;
}

// The fields of a message: "name=value name=value".
Row fields_of(const Row& row) {
  Row fields;
  std::istringstream words(row.at("fields"));
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    fields[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return fields;
}

std::uint64_t number(const Row& row, const char* key) { return std::stoull(row.at(key)); }

std::string ranges_text(const Ack& ack) {
  std::string text;
  for (std::size_t i = 0; i < ack.range_count; ++i) {
    text += (i == 0 ? "" : ",") + std::to_string(ack.ranges[i].start) + "-" + std::to_string(ack.ranges[i].end);
  }
  return text;
}

using Check = void (*)(Bytes payload, const Row& fields);

void check_hello(Bytes payload, const Row& fields) {
  const Hello hello = parse_hello(payload).value();
  CHECK_EQ(hello.version_min, number(fields, "version_min"));
  CHECK_EQ(hello.version_max, number(fields, "version_max"));
  CHECK_EQ(hello.nonce, number(fields, "nonce"));
  CHECK_EQ(hello.max_payload, number(fields, "max_payload"));
}

void check_open_write(Bytes payload, const Row& fields) {
  const OpenWrite open = parse_open_write(payload).value();
  CHECK_EQ(static_cast<std::uint64_t>(open.object), number(fields, "object"));
  CHECK_EQ(open.index, number(fields, "index"));
  CHECK_EQ(open.slot, number(fields, "slot"));
  CHECK_EQ(open.length, number(fields, "length"));
  CHECK_EQ(open.crc, number(fields, "crc"));
}

void check_open_read(Bytes payload, const Row& fields) {
  const OpenRead open = parse_open_read(payload).value();
  CHECK_EQ(static_cast<std::uint64_t>(open.object), number(fields, "object"));
  CHECK_EQ(open.slot, number(fields, "slot"));
  CHECK_EQ(open.offset, number(fields, "offset"));
  CHECK_EQ(open.length, number(fields, "length"));
}

void check_load(Bytes payload, const Row& fields) {
  const Load load = parse_load(payload).value();
  CHECK_EQ(load.location, number(fields, "location"));
  CHECK_EQ(load.cores, number(fields, "cores"));
  CHECK_EQ(load.options, number(fields, "options"));
  CHECK_EQ(to_hex(load.path), fields.at("path"));
}

void check_run(Bytes payload, const Row& fields) {
  const Run run = parse_run(payload).value();
  CHECK_EQ(run.slot, number(fields, "slot"));
  CHECK_EQ(run.flags, number(fields, "flags"));
  CHECK_EQ(run.cores, number(fields, "cores"));
  CHECK_EQ(run.warmup, number(fields, "warmup"));
  CHECK_EQ(run.repeats, number(fields, "repeats"));
  CHECK_EQ(to_hex(run.name), fields.at("name"));
  std::uint8_t raw[64];
  Writer tail{MutableBytes(raw)};
  if (run.has(Run::kGolden)) tail.u32(run.record);
  tail.bytes(run.digest).bytes(run.inputs);
  CHECK_EQ(to_hex(Bytes(raw, tail.size())), fields.at("inline"));
}

void check_cancel(Bytes payload, const Row& fields) {
  CHECK_EQ(parse_cancel(payload).value().transfer, number(fields, "transfer"));
}

void check_reset(Bytes payload, const Row& fields) {
  CHECK_EQ(static_cast<std::uint64_t>(parse_reset(payload).value().mode), number(fields, "mode"));
}

void check_line(Bytes payload, const Row& fields) {
  const Line line = parse_line(payload).value();
  CHECK_EQ(line.baud, number(fields, "baud"));
  CHECK_EQ(line.trial_ms, number(fields, "trial_ms"));
  CHECK_EQ(line.pad, number(fields, "pad"));
}

void check_gate(Bytes payload, const Row& fields) {
  const GateRequest gate = parse_gate(payload).value();
  CHECK_EQ(gate.pin, number(fields, "pin"));
  CHECK_EQ(gate.level, number(fields, "level"));
}

void check_prbs(Bytes payload, const Row& fields) {
  const Prbs prbs = parse_prbs(payload).value();
  CHECK_EQ(prbs.frames, number(fields, "frames"));
  CHECK_EQ(prbs.bytes, number(fields, "size"));
}

void check_golden(Bytes payload, const Row& fields) {
  const GoldenSet set = parse_golden(payload).value();
  CHECK_EQ(set.records, number(fields, "records"));
  CHECK_EQ(set.record_bytes, number(fields, "record_bytes"));
  CHECK_EQ(to_hex(Bytes(set.name.data(), set.name.size())), fields.at("sha256"));
}

void check_pattern(Bytes payload, const Row& fields) {
  const PatternFrame frame = parse_pattern(payload).value();
  CHECK_EQ(frame.number, number(fields, "number"));
  CHECK_EQ(to_hex(frame.bytes), fields.at("data"));
  Pattern pattern(frame.number);
  for (const std::uint8_t byte : frame.bytes) CHECK_EQ(byte, pattern.next());
}

void check_packed(Bytes payload, const Row& fields) {
  const Data data = parse_data(payload).value();
  CHECK_EQ(data.transfer, number(fields, "transfer"));
  CHECK_EQ(data.offset, number(fields, "offset"));
  CHECK_EQ(to_hex(data.bytes), fields.at("data"));
}

void check_data(Bytes payload, const Row& fields) {
  const Data data = parse_data(payload).value();
  CHECK_EQ(data.transfer, number(fields, "transfer"));
  CHECK_EQ(data.offset, number(fields, "offset"));
  CHECK_EQ(to_hex(data.bytes), fields.at("data"));
}

void check_ack(Bytes payload, const Row& fields) {
  const Ack ack = parse_ack(payload).value();
  CHECK_EQ(ack.transfer, number(fields, "transfer"));
  CHECK_EQ(static_cast<std::uint64_t>(ack.status), number(fields, "status"));
  CHECK_EQ(ack.cumulative, number(fields, "cumulative"));
  CHECK_EQ(ack.credit, number(fields, "credit"));
  CHECK_EQ(ranges_text(ack), fields.at("ranges"));
  std::uint8_t raw[kAckLimitBytes];
  Writer writer{MutableBytes(raw)};
  write(writer, ack);
  CHECK_EQ(to_hex(Bytes(raw, writer.size())), to_hex(payload));
}

template <typename Message>
void check_answer(Bytes payload, const Message& message) {
  std::uint8_t raw[64];
  Writer writer{MutableBytes(raw)};
  writer.u8(0);
  write(writer, message);
  CHECK_EQ(to_hex(Bytes(raw, writer.size())), to_hex(payload.first(writer.size())));
}

void check_hello_answer(Bytes payload, const Row& fields) {
  check_answer(payload, HelloAnswer{static_cast<std::uint8_t>(number(fields, "version")),
                                    static_cast<std::uint32_t>(number(fields, "boot_id")),
                                    static_cast<std::uint16_t>(number(fields, "max_payload")),
                                    static_cast<std::uint32_t>(number(fields, "rx_window")),
                                    static_cast<std::uint8_t>(number(fields, "slots")),
                                    static_cast<std::uint8_t>(number(fields, "queue")),
                                    static_cast<std::uint8_t>(number(fields, "flags"))});
}

void check_run_answer(Bytes payload, const Row& fields) {
  check_answer(payload, RunAnswer{number(fields, "cold"), number(fields, "last"),
                                  static_cast<std::uint16_t>(number(fields, "repeats"))});
}

const std::map<std::string, Check>& checks() {
  static const std::map<std::string, Check> all{{"Hello", check_hello},
                                                {"OpenWrite", check_open_write},
                                                {"OpenRead", check_open_read},
                                                {"Load", check_load},
                                                {"Run", check_run},
                                                {"Cancel", check_cancel},
                                                {"Reset", check_reset},
                                                {"Line", check_line},
                                                {"Gate", check_gate},
                                                {"Prbs", check_prbs},
                                                {"Golden", check_golden},
                                                {"Pattern", check_pattern},
                                                {"Packed", check_packed},
                                                {"Data", check_data},
                                                {"Ack", check_ack},
                                                {"HelloAnswer", check_hello_answer},
                                                {"RunAnswer", check_run_answer}};
  return all;
}

}  // namespace

TEST(every_frame_is_encoded_and_decoded_as_written) {
  int frames = 0;
  for (const Row& row : rows()) {
    if (row.count("frame") == 0) continue;
    ++frames;
    const ByteVector payload = from_hex(row.at("payload"));
    const std::uint8_t kind = static_cast<std::uint8_t>(number(row, "kind"));
    const std::uint8_t session = static_cast<std::uint8_t>(number(row, "session"));
    const std::uint16_t seq = static_cast<std::uint16_t>(number(row, "seq"));
    CHECK_EQ(to_hex(view(encode(kind, session, seq, view(payload)))), row.at("frame"));
    Notation expected;
    expected.on_frame(Frame{kind, session, seq, view(payload)});
    CHECK_EQ(decode(view(from_hex(row.at("frame"))), kMaxPayload, 17), expected.events);
  }
  CHECK(frames > 50);
}

TEST(every_stream_decodes_as_written_in_any_pieces) {
  int streams = 0;
  for (const Row& row : rows()) {
    if (row.count("stream") == 0) continue;
    ++streams;
    const ByteVector stream = from_hex(row.at("stream"));
    for (const std::size_t step : {1, 2, 3, 7, 64, 100000}) {
      CHECK_EQ(decode(view(stream), number(row, "max_payload"), step), row.at("events"));
    }
  }
  CHECK(streams > 10);
}

TEST(every_packed_stream_unpacks_as_written) {
  int streams = 0;
  for (const Row& row : rows()) {
    if (row.count("packed") == 0) continue;
    ++streams;
    ByteVector into(number(row, "room"));
    const std::optional<std::size_t> size =
        inflate(view(from_hex(row.at("packed"))), MutableBytes(into.data(), into.size()));
    CHECK_EQ(size ? to_hex(view(into).first(*size)) : "refused", row.at("unpacked"));
  }
  CHECK(streams > 10);
}

TEST(every_message_has_the_fields_that_are_written) {
  std::map<std::string, int> seen;
  for (const Row& row : rows()) {
    if (row.count("type") == 0) continue;
    const auto check = checks().find(row.at("type"));
    if (check == checks().end()) continue;
    ++seen[row.at("type")];
    check->second(view(from_hex(row.at("payload"))), fields_of(row));
  }
  CHECK_EQ(seen.size(), checks().size());
}
