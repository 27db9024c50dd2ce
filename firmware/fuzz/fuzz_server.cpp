// A conversation with a server. Each step of the input is an operation byte and what it needs; whatever the host does,
// the server stays inside its memory, sends nothing but whole frames, and comes to rest.
#include <cstdlib>
#include <memory>

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
  NullEngine engine;
  NullBoard board;
  NullStorage storage;
  CountingClock clock;
  DeferredExecutor executor;
  NullMemory memory{kPayload};
  Server server{Config{kPayload, 1024, 4}, memory.buffers(), Parts{engine, board, storage, clock, executor}};
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
    switch (operation % 12) {
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
      default:
        settings(reader_.u8());
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
  void settings(std::uint8_t which) {
    device_.engine.failing = (which & 1) != 0;
    device_.storage.failing = (which & 2) != 0;
    if ((which & 4) != 0) device_.server.log(which, "a line of the log");
    if ((which & 8) != 0) device_.server.boot();
    if ((which & 16) != 0 && !device_.executor.waiting()) device_.engine.shape = NullEngine::Shape{{9, 40}, {3, 33}};
  }
  Bytes some() {
    const std::size_t count = reader_.u8();
    return reader_.bytes(count < reader_.rest().size() ? count : reader_.rest().size());
  }
  void send(std::uint8_t kind, std::uint16_t seq, Bytes payload) {
    const ByteVector frame = encode(kind, session_, seq, payload);
    device_.server.receive(view(frame));
  }

  Device& device_;
  Reader reader_;
  std::uint8_t session_ = 1;
  std::uint16_t seq_ = 0;
  std::uint16_t transfer_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto device = std::make_unique<Device>();
  Script(*device, Bytes(data, size)).play();
  return 0;
}
