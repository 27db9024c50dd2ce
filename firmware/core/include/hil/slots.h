// The input/output slot pairs of the loaded model, laid out in one arena.
#pragma once

#include <cstdint>

#include "hil/bytes.h"
#include "hil/engine.h"

namespace hil {

class Slots {
 public:
  static constexpr std::size_t kMaxSlots = 16;
  static constexpr std::size_t kMaxTensors = 16;  // inputs, and outputs, of a model
  static constexpr std::size_t kAlignment = 16;

  explicit Slots(std::size_t max_slots) : max_slots_(max_slots < kMaxSlots ? max_slots : kMaxSlots) {}

  // Where each tensor of the engine's model lies in a set. There are no slots then, until memory is given to them.
  Outcome measure(const Engine& engine);
  // Bytes of one set of inputs and outputs, a multiple of kAlignment.
  std::size_t set_bytes() const { return set_bytes_; }
  // Makes as many slots as fit into `arena`, up to max_slots. It must be aligned to kAlignment.
  void place(MutableBytes arena);
  void clear() {
    count_ = 0;
    arena_ = {};
  }

  std::size_t count() const { return count_; }
  std::size_t tensor_count(Role role) const { return tensors(role).count; }
  MutableBytes tensor(std::size_t slot, Role role, std::size_t index) const;
  std::size_t total_bytes(Role role) const { return tensors(role).total_bytes; }

  void set_present(std::size_t slot, std::size_t input, bool present);
  bool all_present(std::size_t slot) const;
  void set_used(std::size_t slot, bool used) { states_[slot].used = used; }
  bool used(std::size_t slot) const { return states_[slot].used; }
  void set_has_outputs(std::size_t slot, bool has) { states_[slot].has_outputs = has; }
  bool has_outputs(std::size_t slot) const { return states_[slot].has_outputs; }

 private:
  struct Placement {
    std::size_t offset;  // in the slot
    std::size_t bytes;
  };
  struct Tensors {
    std::size_t count = 0;
    std::size_t total_bytes = 0;
    Placement placements[kMaxTensors] = {};
  };
  struct State {
    std::uint32_t present = 0;  // bit per input
    bool used = false;          // a queued or running job reads and writes it
    bool has_outputs = false;
  };

  const Tensors& tensors(Role role) const { return role == Role::kInput ? inputs_ : outputs_; }

  std::size_t max_slots_;
  MutableBytes arena_;
  std::size_t count_ = 0;
  std::size_t set_bytes_ = 0;
  Tensors inputs_;
  Tensors outputs_;
  State states_[kMaxSlots];
};

}  // namespace hil
