// Stand-ins for what surrounds a server: an engine that permutes bytes, storage in memory, a clock that counts calls.
#pragma once

#include <string>
#include <vector>

#include "hil/server.h"

namespace hil::test {

// Output k of a model with n inputs: byte i is input (k mod n), byte (i mod its length), exclusive-or 0x5A.
class NullEngine final : public Engine {
 public:
  struct Shape {
    std::vector<std::uint32_t> inputs{64};
    std::vector<std::uint32_t> outputs{16};
  };

  const EngineIdentity& identity() const override { return identity_; }
  Outcome load(const ModelSource& source) override {
    ++loads;
    loaded = false;
    if (source.length >= 4) {
      std::uint8_t magic[4] = {};
      Outcome outcome = source.storage.read(source.location, 0, magic);
      if (!outcome.ok()) return outcome;
      if (as_text(Bytes(magic)) == "BAD!") return failure(Status::kUnsupportedOperator, "Frobnicate is not registered");
    }
    path = std::string(source.path);
    if (heap != nullptr) {
      unload();
      for (const Memory memory : {Memory::kPsram, Memory::kInternal}) {
        if (arena.empty()) arena = heap->take(memory, arena_bytes);
      }
      if (arena.empty()) return failure(Status::kOutOfMemory, "no block for the arena");
    }
    loaded = true;
    return success();
  }
  void unload() override {
    loaded = false;
    if (heap != nullptr && !arena.empty()) heap->give_back(arena);
    arena = {};
  }
  ModelIdentity model() const override { return {"c", "null"}; }
  std::size_t tensor_count(Role role) const override { return lengths(role).size(); }
  TensorSpec tensor(Role role, std::size_t index) const override {
    const std::vector<std::uint32_t>& all = lengths(role);
    return TensorSpec{role == Role::kInput ? "in" : "out",       "int8", "N",
                      Span<const std::uint32_t>(&all[index], 1), -7,     all[index]};
  }
  Outcome set_input(std::size_t index, Bytes bytes) override {
    if (inputs_.size() < shape.inputs.size()) inputs_.resize(shape.inputs.size());
    inputs_[index].assign(bytes.begin(), bytes.end());
    return success();
  }
  Outcome invoke(const Invocation& invocation, Invoked& invoked) override {
    ++invocations;
    if (failing) return failure(Status::kEngineFailed, "the arena is on fire");
    if (!invocation.capture.empty()) {
      if (invocation.capture != "in") return failure(Status::kUnknownTensor, invocation.capture);
      if (inputs_[0].size() > invocation.captured.size()) return failure(Status::kTooLarge, "capture");
      copy_bytes(invocation.captured.data(), Bytes(inputs_[0].data(), inputs_[0].size()));
      invoked.captured_bytes = inputs_[0].size();
    }
    if (invocation.profile != nullptr) {
      invocation.profile->layer("conv_0", "Conv", 1000);
      invocation.profile->layer("gemm_1", "Gemm", 24);
    }
    return success();
  }
  Outcome get_output(std::size_t index, MutableBytes into) override {
    const std::vector<std::uint8_t>& from = inputs_[index % inputs_.size()];
    for (std::size_t i = 0; i < into.size(); ++i) into[i] = static_cast<std::uint8_t>(from[i % from.size()] ^ 0x5A);
    return success();
  }
  std::size_t counter_count() const override { return 1; }
  CounterSpec counter(std::size_t) const override { return {"arena_used", "bytes"}; }
  std::uint64_t counter_value(std::size_t) const override { return 4321; }

  Shape shape;
  bool loaded = false;
  bool failing = false;
  int loads = 0;
  int invocations = 0;
  std::string path;
  Heap* heap = nullptr;  // where its arena comes from, PSRAM first
  std::size_t arena_bytes = 1;
  MutableBytes arena;

 private:
  const std::vector<std::uint32_t>& lengths(Role role) const {
    return role == Role::kInput ? shape.inputs : shape.outputs;
  }

  static constexpr std::string_view kFamilies[2] = {"c", "esp32s3"};
  EngineIdentity identity_{"null", "1.0", kFamilies};
  std::vector<std::vector<std::uint8_t>> inputs_;
};

class NullBoard final : public Board {
 public:
  NullBoard() {
    identity_.app = "tests";
    identity_.chip = "esp32p4";
    identity_.cores = 2;
    identity_.kind = "virtual";
    identity_.boot_id = 0xCAFE;
    identity_.reset_reason_code = 1;
  }
  const BoardIdentity& identity() const override { return identity_; }
  void reset(ResetMode mode) override {
    ++resets;
    last_mode = mode;
  }
  std::size_t counter_count() const override { return 1; }
  CounterSpec counter(std::size_t) const override { return {"heap_free", "bytes"}; }
  std::uint64_t counter_value(std::size_t) const override { return 1234; }

  int resets = 0;
  ResetMode last_mode = ResetMode::kRestart;

 private:
  BoardIdentity identity_;
};

class NullStorage final : public Storage {
 public:
  static constexpr std::uint32_t kCapacity = 1 << 16;

  struct Image {
    std::vector<std::uint8_t> bytes;
    std::vector<bool> written;
    std::uint32_t crc = 0;
    bool whole = false;
  };

  std::string_view location_name(std::uint8_t location) const override {
    static constexpr std::string_view kNames[] = {"partition", "ram"};
    return location < 2 ? kNames[location] : std::string_view();
  }
  Outcome begin(std::uint8_t location, std::uint32_t length, std::uint32_t crc, bool& held) override {
    if (length > kCapacity) return failure(Status::kTooLarge, "the partition has 65536 bytes");
    if (begin_fails) return failure(Status::kStorageFailed, "the flash was erased by half");
    Image& image = images[location];
    held = image.whole && image.bytes.size() == length && image.crc == crc;
    if (!held) image = Image{std::vector<std::uint8_t>(length), std::vector<bool>(length), crc, false};
    return success();
  }
  Outcome write(std::uint8_t location, std::uint32_t offset, Bytes bytes) override {
    if (failing) return failure(Status::kStorageFailed, "the flash does not answer");
    Image& image = images[location];
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (image.written.at(offset + i)) ++rewritten;
      image.written[offset + i] = true;
      image.bytes[offset + i] = bytes[i];
    }
    return success();
  }
  Outcome finish(std::uint8_t location) override {
    images[location].whole = true;
    return success();
  }
  void abort(std::uint8_t location) override {
    images[location] = Image{};
    ++aborts;
  }
  Outcome open(std::uint8_t location, std::string_view, std::uint32_t& length) override {
    if (location > 1 || !images[location].whole) return failure(Status::kNoModel, "no model is there");
    length = static_cast<std::uint32_t>(images[location].bytes.size());
    return success();
  }
  Outcome read(std::uint8_t location, std::uint32_t offset, MutableBytes into) override {
    const Image& image = images[location];
    if (offset + into.size() > image.bytes.size()) return failure(Status::kStorageFailed, "read past the end");
    copy_bytes(into.data(), Bytes(image.bytes.data() + offset, into.size()));
    return success();
  }

  Image images[2];
  bool failing = false;
  bool begin_fails = false;
  int rewritten = 0;
  int aborts = 0;
};

// Flash in memory: erased bytes are FF, writing only clears bits.
class NullRegion final : public Region {
 public:
  explicit NullRegion(std::uint32_t size) : bytes(size, 0xFF) {}

  std::uint32_t size_bytes() const override { return static_cast<std::uint32_t>(bytes.size()); }
  std::uint32_t sector_bytes() const override { return kSector; }
  Outcome erase(std::uint32_t offset, std::uint32_t length) override {
    if (offset % kSector != 0 || length % kSector != 0 || offset + length > bytes.size()) {
      return failure(Status::kStorageFailed, "erase outside the sectors");
    }
    for (std::uint32_t i = 0; i < length; ++i) bytes[offset + i] = 0xFF;
    ++erasures;
    return success();
  }
  Outcome write(std::uint32_t offset, Bytes from) override {
    if (failing || offset + from.size() > bytes.size()) return failure(Status::kStorageFailed, "write");
    for (std::size_t i = 0; i < from.size(); ++i) {
      if ((bytes[offset + i] & from[i]) != from[i]) return failure(Status::kStorageFailed, "it is not erased");
      bytes[offset + i] = from[i];
    }
    return success();
  }
  Outcome read(std::uint32_t offset, MutableBytes into) override {
    if (offset + into.size() > bytes.size()) return failure(Status::kStorageFailed, "read past the end");
    copy_bytes(into.data(), Bytes(bytes.data() + offset, into.size()));
    return success();
  }

  static constexpr std::uint32_t kSector = 256;
  std::vector<std::uint8_t> bytes;
  bool failing = false;
  int erasures = 0;
};

// A UART whose clock the test sets.
class NullRate final : public LineRate {
 public:
  std::uint32_t baud() const override { return rate; }
  bool possible(std::uint32_t baud) const override { return baud >= 9600 && baud <= 3000000; }
  void set(std::uint32_t baud) override {
    rate = baud;
    ++changes;
  }
  std::uint32_t now_ms() const override { return time_ms; }

  std::uint32_t rate = 115200;
  std::uint32_t time_ms = 0;
  int changes = 0;
};

// Each call is 100 cycles later.
class CountingClock final : public Clock {
 public:
  std::uint64_t cycles() override { return now_ += 100; }
  std::uint32_t hz() const override { return 1'000'000; }

 private:
  std::uint64_t now_ = 0;
};

// Keeps the job until the test runs it.
class DeferredExecutor final : public Executor {
 public:
  void submit(Job& job) override { job_ = &job; }
  bool waiting() const { return job_ != nullptr; }
  void run() {
    Job* const job = job_;
    job_ = nullptr;
    job->run();
  }

 private:
  Job* job_ = nullptr;
};

// The memory of a server, of the smallest sizes that make sense.
struct NullMemory {
  static constexpr std::size_t kAnswerBytes = 128;

  explicit NullMemory(std::uint16_t max_payload)
      : rx_frame(stuffed_limit(max_payload)), tx_frame(encoded_limit(max_payload)), unpacked(max_payload) {}

  static MutableBytes view(std::vector<std::uint8_t>& bytes) { return MutableBytes(bytes.data(), bytes.size()); }
  Buffers buffers() {
    return Buffers{
        view(rx_frame), view(tx_frame), MutableBytes(slots, sizeof slots), view(answers), view(info), view(counters),
        view(profile),  view(captured), Span<std::uint64_t>(cycles),       view(scratch), view(log),  view(unpacked)};
  }

  std::vector<std::uint8_t> rx_frame, tx_frame, unpacked;
  alignas(Slots::kAlignment) std::uint8_t slots[4096];
  std::vector<std::uint8_t> answers = std::vector<std::uint8_t>(16 * kAnswerBytes);
  std::vector<std::uint8_t> info = std::vector<std::uint8_t>(4096);
  std::vector<std::uint8_t> counters = std::vector<std::uint8_t>(512);
  std::vector<std::uint8_t> profile = std::vector<std::uint8_t>(64);
  std::vector<std::uint8_t> captured = std::vector<std::uint8_t>(512);
  std::uint64_t cycles[100] = {};
  std::vector<std::uint8_t> scratch = std::vector<std::uint8_t>(64);
  std::vector<std::uint8_t> log = std::vector<std::uint8_t>(300);
};

}  // namespace hil::test
