#include "hil/rooms.h"

namespace hil {

namespace {

constexpr std::size_t less(std::size_t bytes, std::size_t reserve) { return bytes > reserve ? bytes - reserve : 0; }
constexpr std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

Outcome no_room(std::size_t set_bytes, std::size_t largest) {
  Outcome outcome = failure(Status::kOutOfMemory, "one set of inputs and outputs has ");
  outcome.text.append(set_bytes).append(" bytes; beside the model the largest free block is ").append(largest);
  return outcome;
}

}  // namespace

Rooms::Place Rooms::spare() const {
  const std::size_t psram = less(heap_->largest(Memory::kPsram), kPsramReserve);
  const std::size_t internal = less(heap_->largest(Memory::kInternal), kInternalReserve);
  // internal memory is what models fight for, and what the next upload's buffers come from
  return psram > 0 && psram >= internal ? Place{Memory::kPsram, psram} : Place{Memory::kInternal, internal};
}

MutableBytes Rooms::take(Place place) {
  MutableBytes block = place.bytes == 0 ? MutableBytes() : heap_->take(place.memory, place.bytes);
  // another task may have been quicker; half of it is better than none
  while (block.empty() && place.bytes > 2 * Heap::kAlignment) {
    place.bytes /= 2;
    block = heap_->take(place.memory, place.bytes);
  }
  return block;
}

Outcome Rooms::take_slots(std::size_t set_bytes, std::size_t most, MutableBytes& arena) {
  if (heap_ == nullptr) {
    arena = slots_;
    if (set_bytes <= slots_.size()) return success();
    Outcome outcome = failure(Status::kTooLarge, "one set of inputs and outputs needs more than ");
    outcome.text.append(slots_.size()).append(" bytes, the device's slot memory");
    return outcome;
  }
  release_slots();
  arena = {};
  if (set_bytes == 0) return success();
  const Place place = spare();
  const std::size_t comfortable = smaller(place.bytes / 2, limits_.slots) / set_bytes;
  const std::size_t sets = comfortable == 0 ? 1 : smaller(comfortable, most);
  slots_ = heap_->take(place.memory, sets * set_bytes);
  // without a first set nothing can run, so it may take the reserve too
  for (const Memory memory : {Memory::kPsram, Memory::kInternal}) {
    if (slots_.empty()) slots_ = heap_->take(memory, set_bytes);
  }
  arena = slots_;
  if (!slots_.empty()) return success();
  const std::size_t psram = heap_->largest(Memory::kPsram);
  const std::size_t internal = heap_->largest(Memory::kInternal);
  return no_room(set_bytes, psram > internal ? psram : internal);
}

MutableBytes Rooms::take_capture() {
  if (heap_ != nullptr && captured_.empty()) {
    Place place = spare();
    place.bytes = smaller(place.bytes, limits_.capture);
    captured_ = take(place);
  }
  return captured_;
}

std::size_t Rooms::capture_bytes() const {
  if (heap_ == nullptr || !captured_.empty()) return captured_.size();
  return smaller(spare().bytes, limits_.capture);
}

void Rooms::release_slots() {
  if (heap_ == nullptr || slots_.empty()) return;
  heap_->give_back(slots_);
  slots_ = {};
}

void Rooms::release_capture() {
  if (heap_ == nullptr || captured_.empty()) return;
  heap_->give_back(captured_);
  captured_ = {};
}

}  // namespace hil
