// Writes CBOR (RFC 8949) into a buffer; what does not fit is left out and `ok` turns false.
#pragma once

#include <cstdint>
#include <string_view>

#include "hil/bytes.h"

namespace hil {

class CborWriter {
 public:
  explicit CborWriter(MutableBytes into) : into_(into) {}

  CborWriter& uint(std::uint64_t value) { return head(0, value); }
  CborWriter& integer(std::int64_t value);
  CborWriter& text(std::string_view value);
  CborWriter& array(std::size_t count) { return head(4, count); }
  CborWriter& map(std::size_t pairs) { return head(5, pairs); }
  CborWriter& float32(float value);
  CborWriter& null();
  // An array whose length is not known yet, up to its end().
  CborWriter& open_array() { return byte(0x9F); }
  CborWriter& end() { return byte(0xFF); }

  CborWriter& field(std::string_view key, std::uint64_t value) { return text(key).uint(value); }
  CborWriter& field(std::string_view key, std::string_view value) { return text(key).text(value); }

  std::size_t size() const { return size_; }
  bool ok() const { return ok_; }

 private:
  CborWriter& head(std::uint8_t major, std::uint64_t value);
  CborWriter& byte(std::uint8_t value);
  void raw(Bytes bytes);

  MutableBytes into_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace hil
