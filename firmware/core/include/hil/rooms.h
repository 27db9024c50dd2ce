// The memory for slots and for a captured tensor. A model takes what it needs first; these live on what is left.
#pragma once

#include <cstddef>

#include "hil/bytes.h"
#include "hil/heap.h"
#include "hil/status.h"

namespace hil {

// At most so much, however much there is.
struct RoomLimits {
  std::size_t slots = 0;
  std::size_t capture = 0;
};

class Rooms {
 public:
  // What stays free of each memory when slots and captures have been taken: an inference allocates, too.
  static constexpr std::size_t kPsramReserve = 64 * 1024;
  static constexpr std::size_t kInternalReserve = 16 * 1024;

  // Memory of a fixed size that is always there.
  Rooms(MutableBytes slots, MutableBytes captured) : slots_(slots), captured_(captured) {}
  // Memory that is taken when it is needed and given back before the next model.
  Rooms(Heap& heap, const RoomLimits& limits) : heap_(&heap), limits_(limits) {}

  // Memory for up to `most` sets of inputs and outputs of `set_bytes` each, at least for one; the former memory is lost.
  // More than one set is made only of memory that nobody will miss: half of what is left stays for captures.
  Outcome take_slots(std::size_t set_bytes, std::size_t most, MutableBytes& arena);
  // Memory for one captured tensor, as much as there may be. It may be empty.
  MutableBytes take_capture();

  MutableBytes captured() const { return captured_; }
  // The largest tensor that could be captured now.
  std::size_t capture_bytes() const;

  // Gives the memory back. A fixed one stays.
  void release_slots();
  void release_capture();

 private:
  struct Place {
    Memory memory = Memory::kPsram;
    std::size_t bytes = 0;
  };
  // Where the larger block is, less what must stay free there.
  Place spare() const;
  MutableBytes take(Place place);

  Heap* heap_ = nullptr;
  RoomLimits limits_;
  MutableBytes slots_;
  MutableBytes captured_;
};

}  // namespace hil
