// The unpacker: whatever the stream, it stays inside the room that it has, and what it says it wrote it wrote.
// First byte: how much room.
#include <cstdlib>
#include <vector>

#include "hil/inflate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t room = data[0] * 16u;
  std::vector<std::uint8_t> into(room + 1, 0xA5);  // a heap block of its own: AddressSanitizer guards its end
  const hil::Bytes packed(data + 1, size - 1);
  const std::optional<std::size_t> wrote = hil::inflate(packed, hil::MutableBytes(into.data(), room));
  if (into[room] != 0xA5 || (wrote && *wrote > room)) std::abort();
  return 0;
}
