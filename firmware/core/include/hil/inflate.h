// DEFLATE (RFC 1951) without a heap and without a window of its own: what was unpacked so far is the window.
#pragma once

#include <cstddef>
#include <optional>

#include "hil/bytes.h"

namespace hil {

// Unpacks a whole raw DEFLATE stream. Returns the number of bytes written, or nothing if the stream is damaged, does not
// end with its last byte, or unpacks to more than `into` holds. Takes about 1.5 kB of stack.
std::optional<std::size_t> inflate(Bytes packed, MutableBytes into);

}  // namespace hil
