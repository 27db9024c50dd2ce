// The memory that a board's firmware keeps as long as it runs, taken at its start.
#pragma once

#include <cstddef>

#include "hil/bytes.h"
#include "hil/heap.h"
#include "hil/server.h"

namespace hil {

// What of it can be chosen. The rest is small and always the same.
struct LastingSizes {
  std::size_t info = 0;
  std::size_t profile = 0;
  std::size_t unpacked = 0;
};

// Answers, INFO, counters, profile, log lines and unpacked frames. Large and seldom touched: in PSRAM where there is some, so
// that they take no internal memory from a model. An image for PSRAM also starts on a module without: INFO and the profile
// shrink then, whatever was hoped for.
// Returns null, or what there was no memory for; then `buffers` is not to be used.
const char* take_lasting(Heap& heap, const LastingSizes& sizes, Buffers& buffers);

// A block of `wanted` bytes from PSRAM, else of `least` from wherever there is room. Empty: not even that.
MutableBytes take_lasting(Heap& heap, std::size_t wanted, std::size_t least);

// The largest block of internal memory, for as long as what lasts is made: it is made in the next largest one then, and the
// largest stays whole for an arena. Empty where the next one has no room for `lasting` bytes; nothing is held then.
MutableBytes hold_largest(Heap& heap, std::size_t lasting);

}  // namespace hil
