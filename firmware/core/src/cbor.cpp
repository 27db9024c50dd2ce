#include "hil/cbor.h"

#include <cstring>

namespace hil {

void CborWriter::raw(Bytes bytes) {
  if (bytes.size() > into_.size() - size_) ok_ = false;
  if (!ok_) return;
  copy_bytes(into_.data() + size_, bytes);
  size_ += bytes.size();
}

CborWriter& CborWriter::head(std::uint8_t major, std::uint64_t value) {
  // shortest form: in the first byte, or in 1, 2, 4 or 8 bytes after it (RFC 8949, 3.1)
  std::uint8_t bytes[9];
  std::size_t width = 0;
  std::uint8_t additional = static_cast<std::uint8_t>(value);
  if (value > 0xFFFFFFFF) {
    width = 8, additional = 27;
  } else if (value > 0xFFFF) {
    width = 4, additional = 26;
  } else if (value > 0xFF) {
    width = 2, additional = 25;
  } else if (value > 23) {
    width = 1, additional = 24;
  }
  bytes[0] = static_cast<std::uint8_t>(major << 5 | additional);
  for (std::size_t i = 0; i < width; ++i) bytes[1 + i] = static_cast<std::uint8_t>(value >> (8 * (width - 1 - i)));
  raw(Bytes(bytes, 1 + width));
  return *this;
}

CborWriter& CborWriter::integer(std::int64_t value) {
  if (value >= 0) return head(0, static_cast<std::uint64_t>(value));
  return head(1, static_cast<std::uint64_t>(-1 - value));
}

CborWriter& CborWriter::text(std::string_view value) {
  head(3, value.size());
  raw(as_bytes(value));
  return *this;
}

CborWriter& CborWriter::float32(float value) {
  static_assert(sizeof(float) == 4, "IEEE 754 binary32");
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  std::uint8_t bytes[5] = {0xFA};
  for (int i = 0; i < 4; ++i) bytes[1 + i] = static_cast<std::uint8_t>(bits >> (24 - 8 * i));
  raw(Bytes(bytes, sizeof bytes));
  return *this;
}

CborWriter& CborWriter::null() { return byte(0xF6); }

CborWriter& CborWriter::byte(std::uint8_t value) {
  raw(Bytes(&value, 1));
  return *this;
}

}  // namespace hil
