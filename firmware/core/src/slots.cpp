#include "hil/slots.h"

namespace hil {

namespace {

constexpr std::size_t align(std::size_t bytes) {
  return (bytes + Slots::kAlignment - 1) / Slots::kAlignment * Slots::kAlignment;
}

// More than any chip has; sizes below it can be added without overflow.
constexpr std::size_t kMaxSetBytes = std::size_t{1} << 30;

}  // namespace

Outcome Slots::measure(const Engine& engine) {
  clear();
  std::size_t offset = 0;
  for (const Role role : {Role::kInput, Role::kOutput}) {
    Tensors& tensors = role == Role::kInput ? inputs_ : outputs_;
    tensors.count = engine.tensor_count(role);
    tensors.total_bytes = 0;
    if (tensors.count > kMaxTensors) {
      Outcome outcome = failure(Status::kTooLarge, "the model has ");
      outcome.text.append(tensors.count).append(role == Role::kInput ? " inputs" : " outputs").append(", at most ");
      outcome.text.append(kMaxTensors).append(" are possible");
      return outcome;
    }
    for (std::size_t i = 0; i < tensors.count; ++i) {
      const std::size_t bytes = engine.tensor(role, i).bytes;
      if (bytes > kMaxSetBytes - offset) return failure(Status::kTooLarge, "the model's inputs and outputs have 1 GiB or more");
      tensors.placements[i] = Placement{offset, bytes};
      tensors.total_bytes += bytes;
      offset += align(bytes);
    }
  }
  set_bytes_ = offset;
  return success();
}

void Slots::place(MutableBytes arena) {
  arena_ = arena;
  const std::size_t fitting = set_bytes_ == 0 ? max_slots_ : arena.size() / set_bytes_;
  count_ = fitting < max_slots_ ? fitting : max_slots_;
  for (State& state : states_) state = State{};
}

MutableBytes Slots::tensor(std::size_t slot, Role role, std::size_t index) const {
  const Placement& placement = tensors(role).placements[index];
  return arena_.part(slot * set_bytes_ + placement.offset, placement.bytes);
}

void Slots::set_present(std::size_t slot, std::size_t input, bool present) {
  const std::uint32_t bit = std::uint32_t{1} << input;
  std::uint32_t& bits = states_[slot].present;
  bits = present ? bits | bit : bits & ~bit;
}

bool Slots::all_present(std::size_t slot) const {
  return states_[slot].present == (std::uint32_t{1} << inputs_.count) - 1;
}

}  // namespace hil
