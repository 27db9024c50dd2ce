// The frame decoder: no input breaks it, and no way of cutting a stream changes what it says.
// First byte: the size of the pieces. Second: what is done to the rest before it is decoded.
#include <cstdlib>

#include "stream.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hil::test;
  if (size < 2) return 0;
  const std::size_t step = 1 + data[0] % 97u;
  const hil::Bytes rest(data + 2, size - 2);
  ByteVector stream = copy(rest);
  if (data[1] % 2 == 1) {
    // random bytes hold no CRC: put them into frames, and damage one byte of the stream
    stream.clear();
    for (std::size_t at = 0; at < rest.size();) {
      const std::size_t count = rest[at] % 64u < rest.size() - at ? rest[at] % 64u : rest.size() - at;
      const ByteVector frame = encode(static_cast<std::uint8_t>(0x80 | (rest[at] & 0x3Fu)), 1, 2, rest.part(at, count));
      stream.insert(stream.end(), frame.begin(), frame.end());
      at += count + 1;
    }
    if (data[1] % 4 == 3 && !stream.empty())
      stream[data[1] * 7u % stream.size()] ^= static_cast<std::uint8_t>(data[0] | 1);
  }
  constexpr std::size_t kLimit = 48;
  if (decode(view(stream), kLimit, step) != decode(view(stream), kLimit, stream.size() + 1)) std::abort();
  return 0;
}
