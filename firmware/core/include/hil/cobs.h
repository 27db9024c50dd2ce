// Consistent overhead byte stuffing (Cheshire and Baker, 1999): bytes without zeros, so that zero can delimit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "hil/bytes.h"

namespace hil {

// Most bytes that `size` bytes become.
constexpr std::size_t cobs_limit(std::size_t size) { return size + 1 + size / 254; }

// Encodes piece by piece, straight into its destination. The destination must hold cobs_limit of all pieces.
// A full block at the very end is not followed by another code byte.
class CobsEncoder {
 public:
  explicit CobsEncoder(std::uint8_t* into) : begin_(into), code_at_(into), out_(into + 1) {}

  void put(Bytes piece);
  // Ends the block in progress; returns the number of bytes written.
  std::size_t finish();

 private:
  std::uint8_t* begin_;
  std::uint8_t* code_at_;
  std::uint8_t* out_;
};

// Calls on_block(run, zero_follows) for each block. Returns false if `stuffed` is empty or ends inside a block;
// it must not hold a zero (what stands between two delimiters does not).
template <typename OnBlock>
bool cobs_blocks(Bytes stuffed, OnBlock on_block) {
  if (stuffed.empty()) return false;
  while (!stuffed.empty()) {
    const std::size_t code = stuffed[0];
    if (code > stuffed.size()) return false;
    const Bytes run = stuffed.part(1, code - 1);
    stuffed = stuffed.from(code);
    on_block(run, code != 0xFF && !stuffed.empty());
  }
  return true;
}

// Decodes `stuffed` in place. Returns the decoded length, or nothing if it holds a zero, is empty or ends inside a
// block.
std::optional<std::size_t> cobs_decode(MutableBytes stuffed);

}  // namespace hil
