// A conversation with a server. Each step of the input is an operation byte and what it needs; whatever the host does,
// the server stays inside its memory, sends nothing but whole frames, and comes to rest.
#include <algorithm>
#include <cstdlib>

#include "hil/crc32.h"
#include "null_parts.h"
#include "stream.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace hil;
using namespace hil::test;

constexpr std::uint16_t kPayload = 256;

class Line final : private FrameSink {
 public:
  // Takes everything that the server sends; more than a whole queue of answers and data at once means that it never
  // rests.
  void take(Server& server, std::size_t width) {
    std::uint8_t line[600];
    std::size_t total = 0;
    while (const std::size_t count = server.transmit(MutableBytes(line, width))) {
      decoder_.feed(Bytes(line, count), *this);
      total += count;
      if (total > 200000) std::abort();
    }
  }

 private:
  void on_frame(const Frame& frame) override {
    if (frame.payload.size() > kPayload) std::abort();
  }
  void on_text(Bytes) override { std::abort(); }
  void on_noise(std::size_t) override { std::abort(); }

  std::uint8_t buffer_[stuffed_limit(kPayload)];
  FrameDecoder decoder_{MutableBytes(buffer_), kPayload};
};

struct Device {
  Device(NullMemory& some, NullRegion& store) : memory(some), region(store) {}

  NullEngine engine;
  NullBoard board;
  NullStorage storage;
  CountingClock clock;
  DeferredExecutor executor;
  NullMemory& memory;
  NullRate rate;
  NullRegion& region;
  Server server{Config{kPayload, 1024, 4}, memory.buffers(), Parts{engine, board, storage, clock, executor, &rate, &region}};
  Line line;
};

class Script {
 public:
  Script(Device& device, Bytes steps) : device_(device), reader_(steps) {}

  void play() {
    while (reader_.ok() && !reader_.rest().empty()) step(reader_.u8());
    if (device_.executor.waiting()) device_.executor.run();
    device_.server.poll();
    device_.line.take(device_.server, 600);
  }

 private:
  void step(std::uint8_t operation) {
    switch (operation % 16) {
      case 0:
        hello();
        break;
      case 1:
      case 2:
      case 3:
      case 4:
        request(static_cast<std::uint8_t>(0x80 | (reader_.u8() & 15u)));
        break;
      case 5:
        send(kind::kData, transfer_, some());
        break;
      case 6:
        send(kind::kAck, transfer_, some());
        break;
      case 7:
        device_.server.receive(some());
        break;
      case 8:
        if (device_.executor.waiting()) device_.executor.run();
        device_.server.poll();
        break;
      case 9:
        device_.line.take(device_.server, 1u + reader_.u8());
        break;
      case 10:
        seq_ = reader_.u16();
        break;
      case 11:
        settings(reader_.u8());
        break;
      case 12:
        golden(reader_.u8());
        break;
      case 13:
        send(kind::kPacked, transfer_, some());
        break;
      case 14:
        send(kind::kPattern, transfer_, some());
        break;
      default:
        device_.rate.time_ms += 50u * reader_.u8();
        device_.server.poll();
    }
  }
  void hello() {
    session_ = static_cast<std::uint8_t>(reader_.u8() | 1);
    std::uint8_t payload[8];
    Writer(payload).u8(1).u8(1).u32(reader_.u8()).u16(kPayload);
    send(kind::kHello, seq_++, payload);
  }
  void request(std::uint8_t kind) {
    transfer_ = seq_;
    send(kind, seq_++, some());
  }
  // Asks for a set of one byte repeated, and writes it if it is missing: no mutation finds a right digest or CRC.
  void golden(std::uint8_t which) {
    ByteVector set(64u * (1u + (which & 7u)), which);
    Sha256 sha;
    sha.update(view(set));
    const Sha256::Digest name = sha.finish();
    ByteVector payload(40);
    Writer(MutableBytes(payload.data(), payload.size()))
        .u32(1u + (which & 7u))
        .u32(64)
        .bytes(Bytes(name.data(), name.size()));
    for (int round = 0; round < 2; ++round) {
      send(kind::kGolden, seq_++, view(payload));
      if (device_.executor.waiting()) device_.executor.run();
      device_.server.poll();
      if (round == 1 || (which & 8) != 0) return;
      write(set, (which & 16) != 0);
    }
  }
  void write(const ByteVector& set, bool cut) {
    transfer_ = seq_;
    ByteVector open(13);
    Writer(MutableBytes(open.data(), open.size()))
        .u8(static_cast<std::uint8_t>(Object::kGolden))
        .u32(0)
        .u32(static_cast<std::uint32_t>(set.size()))
        .u32(crc32(view(set)));
    send(kind::kOpenWrite, seq_++, view(open));
    for (std::size_t at = 0; at < set.size() && !(cut && at != 0); at += 64) {
      ByteVector chunk(6 + 64);
      Writer(MutableBytes(chunk.data(), chunk.size()))
          .u16(transfer_)
          .u32(static_cast<std::uint32_t>(at))
          .bytes(view(set).part(at, 64));
      send(kind::kData, transfer_, view(chunk));
    }
  }
  void settings(std::uint8_t which) {
    device_.engine.failing = (which & 1) != 0;
    device_.storage.failing = (which & 2) != 0;
    device_.region.failing = (which & 32) != 0;
    if ((which & 4) != 0) device_.server.log(which, "a line of the log");
    if ((which & 8) != 0) device_.server.boot();
    if ((which & 16) != 0 && !device_.executor.waiting()) device_.engine.shape = NullEngine::Shape{{9, 40}, {3, 33}};
  }
  Bytes some() {
    const std::size_t count = reader_.u8();
    return reader_.bytes(count < reader_.rest().size() ? count : reader_.rest().size());
  }
  void send(std::uint8_t kind, std::uint16_t seq, Bytes payload) {
    static std::uint8_t frame[encoded_limit(1024)];
    FrameEncoder encoder(frame, kind, session_, seq);
    encoder.put(payload);
    device_.server.receive(Bytes(frame, encoder.finish()));
  }

  Device& device_;
  Reader reader_;
  std::uint8_t session_ = 1;
  std::uint16_t seq_ = 0;
  std::uint16_t transfer_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // making these anew would take most of the time
  static NullMemory memory{kPayload};
  static NullRegion region{2048};
  std::fill(region.bytes.begin(), region.bytes.end(), std::uint8_t{0xFF});
  region.failing = false;
  Device device(memory, region);
  Script(device, Bytes(data, size)).play();
  return 0;
}
