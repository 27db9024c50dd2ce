// CRC-32 of IEEE 802.3 (reflected, the one of zlib).
#pragma once

#include <cstdint>

#include "hil/bytes.h"

namespace hil {

// Continues `crc`, the value for the bytes before (0 at the start).
// Built with HIL_CRC32_EXTERNAL, the port defines it, for instance by the function in a chip's ROM.
std::uint32_t crc32(Bytes bytes, std::uint32_t crc = 0);

}  // namespace hil
