// PRBS-15 (ITU-T O.150: x^15 + x^14 + 1), the bytes of PATTERN frames: every run of up to 15 equal bits occurs in it.
#pragma once

#include <cstdint>

#include "hil/bytes.h"

namespace hil {

class Pattern {
 public:
  // Each frame begins at a place of its own in the sequence.
  explicit Pattern(std::uint16_t number) : state_(number % 0x7FFFu + 1u) {}

  std::uint8_t next() {
    std::uint8_t byte = 0;
    for (int i = 0; i < 8; ++i) {
      const std::uint32_t bit = (state_ >> 14 ^ state_ >> 13) & 1u;
      state_ = (state_ << 1 | bit) & 0x7FFFu;
      byte = static_cast<std::uint8_t>(byte << 1 | bit);
    }
    return byte;
  }

 private:
  std::uint32_t state_;
};

}  // namespace hil
