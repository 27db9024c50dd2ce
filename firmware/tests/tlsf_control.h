// Sizes of ESP-IDF's TLSF that depend on those of its region: control_construct of tlsf.c.
#pragma once

#include <cstddef>

namespace hil::test {

// Classes of block sizes from one power of two to the next.
constexpr std::size_t size_classes(std::size_t region) { return region <= 16 * 1024 ? 8 : region <= 256 * 1024 ? 16 : 32; }

// What the free lists and their bitmaps take of the region, with pointers of so many bytes.
constexpr std::size_t control_bytes(std::size_t region, std::size_t pointer) {
  std::size_t bits = 0;
  while (region >> bits != 0) ++bits;
  const std::size_t classes = size_classes(region);
  std::size_t shift = 2;  // blocks begin at multiples of 4
  while (std::size_t{4} << (shift - 2) < 4 * classes) ++shift;
  const std::size_t powers = bits - shift + 1;
  return 3 * 4 + 7 * pointer + powers * 4 + powers * classes * pointer + 2 * pointer;
}

}  // namespace hil::test
