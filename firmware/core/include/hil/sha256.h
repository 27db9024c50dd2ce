// SHA-256 (FIPS 180-4), as the bytes come.
#pragma once

#include <array>
#include <cstdint>

#include "hil/bytes.h"

namespace hil {

class Sha256 {
 public:
  using Digest = std::array<std::uint8_t, 32>;

  void update(Bytes bytes);
  // Ends the message; the object must not be used afterwards.
  Digest finish();

 private:
  void block(const std::uint8_t* bytes);

  std::uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::uint64_t length_bytes_ = 0;
  std::uint8_t partial_[64] = {};
};

}  // namespace hil
