// What takes long: loading a model and running it. Orders queue up and are worked off one at a time by the executor.
#pragma once

#include <cstdint>
#include <optional>

#include "hil/clock.h"
#include "hil/engine.h"
#include "hil/executor.h"
#include "hil/gate.h"
#include "hil/golden_store.h"
#include "hil/messages.h"
#include "hil/sha256.h"
#include "hil/slots.h"

namespace hil {

// The part of a RUN or LOAD request that outlives its frame.
struct Order {
  enum class Kind : std::uint8_t { kLoad, kRun, kSelect };
  using Name = FixedText<128>;

  Kind kind = Kind::kRun;
  std::uint16_t seq = 0;
  bool forgotten = false;  // its session ended: nobody waits for the answer
  bool cold = false;       // no run since LOAD
  std::uint8_t flags = 0;
  std::uint8_t cores = 1;
  std::uint8_t location = 0;
  std::uint16_t options = 0;
  std::uint16_t slot = 0;
  std::uint16_t warmup = 0;
  std::uint16_t repeats = 0;
  Name name;  // of the tensor to capture, or the model's path
  std::uint32_t record = 0;  // of the golden set; of kSelect the length of the set
  Sha256::Digest digest{};   // of the outputs as expected (its first part); of kSelect the name of the set

  bool runs() const { return kind == Kind::kRun; }
  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

struct WorkBuffers {
  Span<std::uint64_t> cycles;
  MutableBytes captured;
  MutableBytes profile;
  MutableBytes scratch;
};

struct WorkResult {
  Outcome outcome;
  std::optional<std::uint64_t> cold;
  std::uint64_t last = 0;
  std::uint64_t window = 0;  // cycles of all repetitions and what is between them, with the gate
  std::size_t captured_bytes = 0;
  std::size_t profile_bytes = 0;
  std::uint32_t model_bytes = 0;
  Sha256::Digest model_sha256{};
  bool found = false;        // the golden set is there and intact
  bool as_expected = false;  // the outputs have the digest of the order
};

class Work final : public Job {
 public:
  Work(Engine& engine, Clock& clock, Storage& storage, GoldenStore& store, const Slots& slots,
       const WorkBuffers& buffers, Gate* gate = nullptr)
      : engine_(engine), clock_(clock), storage_(storage), store_(store), slots_(slots), buffers_(buffers), gate_(gate) {}

  void prepare(const Order& order);
  // Where the tensor goes that the next run captures.
  void capture_into(MutableBytes memory) { buffers_.captured = memory; }
  const Order& order() const { return order_; }
  Order& order() { return order_; }
  const WorkResult& result() const { return result_; }

 private:
  void execute() override;
  Outcome load();
  Outcome hash_model();
  Outcome run();
  Outcome repeat();
  Outcome select();
  Outcome read_record();
  bool as_expected() const;
  Outcome invoke(const Invocation& invocation, Invoked& invoked, std::uint64_t& cycles);
  Outcome capture_and_profile();

  Engine& engine_;
  Clock& clock_;
  Storage& storage_;
  GoldenStore& store_;
  const Slots& slots_;
  WorkBuffers buffers_;
  Gate* gate_;
  Order order_;
  WorkResult result_;
};

// First in, first out.
class OrderQueue {
 public:
  static constexpr std::size_t kCapacity = 8;

  bool full() const { return size_ == kCapacity; }
  bool empty() const { return size_ == 0; }
  void push(const Order& order) { orders_[size_++] = order; }
  Order pop();
  void clear() { size_ = 0; }
  const Order* begin() const { return orders_; }
  const Order* end() const { return orders_ + size_; }

 private:
  Order orders_[kCapacity];
  std::size_t size_ = 0;
};

}  // namespace hil
