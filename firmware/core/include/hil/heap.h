// The chip's memory as far as the server takes it while a model is loaded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hil/bytes.h"

namespace hil {

enum class Memory : std::uint8_t { kPsram, kInternal };

class Heap {
 public:
  static constexpr std::size_t kAlignment = 64;  // cache lines
  // What an aligned block takes of a free one beside its own size, in ESP-IDF's allocator: it may begin up to kAlignment later,
  // leaves a gap that can hold a header, and the sum is rounded up to kAlignment.
  static constexpr std::size_t kOverhead = 2 * kAlignment;

  // All there is of it, taken or not. 0: the board has none.
  virtual std::size_t total(Memory memory) const = 0;
  // The largest block that `take` would give now.
  virtual std::size_t largest(Memory memory) const = 0;
  // A block aligned to kAlignment, or an empty one if there is none of that size.
  virtual MutableBytes take(Memory memory, std::size_t bytes) = 0;
  virtual void give_back(MutableBytes block) = 0;

 protected:
  ~Heap() = default;
};

}  // namespace hil
