// A host for tests: sends requests to a server and keeps the frames that come back.
#pragma once

#include <vector>

#include "check.h"
#include "hil/crc32.h"
#include "null_parts.h"
#include "stream.h"

namespace hil::test {

// The body of an answer, read field by field; it owns the bytes.
class Body {
 public:
  explicit Body(ByteVector bytes) : bytes_(std::move(bytes)), reader_(view(bytes_)) {}
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  std::uint8_t u8() { return reader_.u8(); }
  std::uint16_t u16() { return reader_.u16(); }
  std::uint32_t u32() { return reader_.u32(); }
  std::uint64_t u64() {
    const std::uint64_t low = reader_.u32();
    return low | std::uint64_t{reader_.u32()} << 32;
  }
  void skip(std::size_t count) { (void)reader_.bytes(count); }
  bool ok_and_empty() const { return reader_.ok_and_empty(); }

 private:
  ByteVector bytes_;
  Reader reader_;
};

struct Received {
  std::uint8_t kind;
  std::uint8_t session;
  std::uint16_t seq;
  ByteVector payload;

  // A refusal that begins "the input has " goes on with how many bytes: its words never end in the middle.
  Status status() const {
    if (payload.at(0) != 0 && payload.size() > 1) CHECK(text().find_last_of(" ,;:") != text().size() - 1);
    return static_cast<Status>(payload.at(0));
  }
  std::string text() const { return std::string(payload.begin() + 1, payload.end()); }
  Body body() const { return Body(ByteVector(payload.begin() + 1, payload.end())); }
};

// Builds a payload.
class Payload {
 public:
  Payload& u8(std::uint8_t value) { return put(value, 1); }
  Payload& u16(std::uint16_t value) { return put(value, 2); }
  Payload& u32(std::uint32_t value) { return put(value, 4); }
  Payload& bytes(Bytes value) {
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
  }
  Payload& text(std::string_view value) { return bytes(as_bytes(value)); }
  operator Bytes() const { return view(bytes_); }

 private:
  Payload& put(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes_.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    return *this;
  }

  ByteVector bytes_;
};

class Host final : private FrameSink {
 public:
  static constexpr std::uint16_t kMaxPayload = 512;
  static constexpr std::uint32_t kWindow = 2048;

  Host() : Host(&inline_) {}
  // With an executor of the test.
  explicit Host(Executor& executor) : Host(&executor) {}
  // On a board whose memory for tensors comes and goes with the model.
  Host(Heap& heap, const RoomLimits& limits) : Host(&inline_, &heap, limits) { engine.heap = &heap; }

  // Sends one frame and takes what comes back.
  void send(std::uint8_t kind, Bytes payload) { send(kind, session, next_seq++, payload); }
  void send(std::uint8_t kind, std::uint8_t in_session, std::uint16_t seq, Bytes payload) {
    const ByteVector frame = encode(kind, in_session, seq, payload);
    server.receive(view(frame));
    take();
  }
  // Sends a request and returns its answer.
  Received ask(std::uint8_t kind, Bytes payload) {
    const std::uint16_t seq = next_seq;
    send(kind, payload);
    return answer(seq);
  }
  Received answer(std::uint16_t seq) {
    for (auto found = received.rbegin(); found != received.rend(); ++found) {
      if (found->seq == seq && found->kind >= 0xA0 && found->kind <= 0xAF) return *found;
    }
    hil::test::check_true(false, "an answer came", __FILE__, __LINE__);
    return Received{0, 0, seq, {0xFF}};
  }
  // The frames of that kind since the last clear.
  std::vector<Received> all(std::uint8_t kind) const {
    std::vector<Received> found;
    for (const Received& frame : received) {
      if (frame.kind == kind) found.push_back(frame);
    }
    return found;
  }
  void clear() { received.clear(); }
  void take() {
    std::uint8_t line[700];
    while (const std::size_t size = server.transmit(MutableBytes(line))) {
      sent_bytes += size;
      decoder_.feed(Bytes(line, size), *this);
    }
  }
  std::size_t sent_bytes = 0;  // by the device, pads included
  void poll() {
    server.poll();
    take();
  }

  Received hello(std::uint8_t new_session = 7, std::uint16_t seq = 1, std::uint32_t nonce = 1) {
    session = new_session;
    next_seq = static_cast<std::uint16_t>(seq + 1);
    send(kind::kHello, session, seq, Payload().u8(1).u8(1).u32(nonce).u16(kMaxPayload));
    return answer(seq);
  }
  // Opens a write; returns the number of the transfer.
  std::uint16_t open_write(Object object, std::uint16_t index, std::uint16_t slot, Bytes content) {
    const std::uint16_t seq = next_seq;
    send(kind::kOpenWrite, Payload()
                               .u8(static_cast<std::uint8_t>(object))
                               .u16(index)
                               .u16(slot)
                               .u32(static_cast<std::uint32_t>(content.size()))
                               .u32(crc32(content)));
    return seq;
  }
  void data(std::uint16_t transfer, std::uint32_t offset, Bytes bytes) {
    send(kind::kData, session, transfer, Payload().u16(transfer).u32(offset).bytes(bytes));
  }
  // Writes a whole object; returns the status of the last ACK.
  Status write(Object object, std::uint16_t index, std::uint16_t slot, Bytes content) {
    const std::uint16_t transfer = open_write(object, index, slot, content);
    if (answer(transfer).status() != Status::kOk) return answer(transfer).status();
    for (std::size_t at = 0; at < content.size(); at += 200) {
      data(transfer, static_cast<std::uint32_t>(at),
           content.part(at, content.size() - at < 200 ? content.size() - at : 200));
    }
    return all(kind::kAck).back().payload.size() > 2 ? static_cast<Status>(all(kind::kAck).back().payload[2])
                                                     : Status::kGap;
  }
  Received open_read(Object object, std::uint16_t index = 0, std::uint16_t slot = 0, std::uint32_t offset = 0,
                     std::uint32_t length = kWholeObject) {
    return ask(kind::kOpenRead,
               Payload().u8(static_cast<std::uint8_t>(object)).u16(index).u16(slot).u32(offset).u32(length));
  }
  // Reads a whole object over a line without loss, and checks its CRC.
  ByteVector read(Object object, std::uint16_t index = 0, std::uint16_t slot = 0) {
    const std::uint16_t transfer = next_seq;
    const Received opened = open_read(object, index, slot);
    CHECK_EQ(opened.status(), Status::kOk);
    if (opened.status() != Status::kOk) return {};
    Body body = opened.body();
    const std::uint32_t length = body.u32();
    const std::uint32_t crc = body.u32();
    ByteVector content = assembled(transfer);
    CHECK_EQ(content.size(), length);
    CHECK_EQ(crc32(view(content)), crc);
    ack(transfer, Status::kOk, length);
    return content;
  }
  // What DATA of a transfer has brought, put together; gaps are zeros.
  ByteVector assembled(std::uint16_t transfer) const {
    ByteVector content;
    for (const Received& frame : all(kind::kData)) {
      const std::optional<Data> chunk = parse_data(view(frame.payload));
      if (!chunk || chunk->transfer != transfer) continue;
      if (content.size() < chunk->offset + chunk->bytes.size()) content.resize(chunk->offset + chunk->bytes.size());
      copy_bytes(content.data() + chunk->offset, chunk->bytes);
    }
    return content;
  }
  void ack(std::uint16_t transfer, Status status, std::uint32_t cumulative, std::uint32_t credit = 65536,
           std::vector<Range> ranges = {}) {
    Payload payload;
    payload.u16(transfer).u8(static_cast<std::uint8_t>(status)).u32(cumulative).u32(credit);
    for (const Range& range : ranges) payload.u32(range.start).u32(range.end);
    send(kind::kAck, session, transfer, payload);
  }
  std::optional<Ack> last_ack() const {
    const std::vector<Received> acks = all(kind::kAck);
    return acks.empty() ? std::nullopt : parse_ack(view(acks.back().payload));
  }
  // HELLO, a model in RAM, LOAD.
  void load_model() {
    hello(9, 1000, 1000);
    CHECK_EQ(write(Object::kModel, 1, 0, view(model)), Status::kOk);
    CHECK_EQ(ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).status(), Status::kOk);
  }
  Received run(std::uint16_t slot, std::uint8_t flags, std::uint16_t warmup, std::uint16_t repeats,
               std::string_view name = {}, Bytes inputs = {}) {
    return ask(kind::kRun, run_payload(slot, flags, warmup, repeats, name, inputs));
  }
  static Payload run_payload(std::uint16_t slot, std::uint8_t flags, std::uint16_t warmup, std::uint16_t repeats,
                             std::string_view name = {}, Bytes inputs = {}) {
    Payload payload;
    payload.u16(slot).u8(flags).u8(1).u16(warmup).u16(repeats).u8(static_cast<std::uint8_t>(name.size())).text(name);
    return payload.bytes(inputs);
  }

  NullEngine engine;
  NullBoard board;
  NullStorage storage;
  NullRate rate;
  NullRegion region{8192};
  CountingClock clock;
  InlineExecutor inline_;
  NullMemory memory{kMaxPayload};
  Server server;
  std::vector<Received> received;
  std::string text;
  ByteVector model = ByteVector(1000, 0x42);
  std::uint8_t session = 0;
  std::uint16_t next_seq = 0;

 private:
  explicit Host(Executor* executor, Heap* heap = nullptr, const RoomLimits& limits = {})
      : server(Config{kMaxPayload, kWindow, 4, limits}, memory.buffers(),
               Parts{engine, board, storage, clock, *executor, &rate, &region, heap}) {}

  void on_frame(const Frame& frame) override {
    received.push_back(Received{frame.kind, frame.session, frame.seq, copy(frame.payload)});
  }
  void on_text(Bytes bytes) override { text += as_text(bytes); }
  void on_noise(std::size_t) override { check_true(false, "the server sends no noise", __FILE__, __LINE__); }

  ByteVector buffer_ = ByteVector(stuffed_limit(kMaxPayload));
  FrameDecoder decoder_{MutableBytes(buffer_.data(), buffer_.size()), kMaxPayload};
};

// Bytes that differ from place to place.
inline ByteVector pattern(std::size_t size, std::uint32_t seed = 1) {
  ByteVector bytes(size);
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::uint8_t& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::uint8_t>(state >> 24);
  }
  return bytes;
}

}  // namespace hil::test
