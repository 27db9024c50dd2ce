#include "check.h"
#include "hil/cobs.h"
#include "stream.h"

using namespace hil;
using hil::test::ByteVector;
using hil::test::view;

namespace {

ByteVector encode(const ByteVector& bytes, std::size_t piece) {
  ByteVector out(cobs_limit(bytes.size()));
  CobsEncoder encoder(out.data());
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    encoder.put(view(bytes).part(at, bytes.size() - at < piece ? bytes.size() - at : piece));
  }
  out.resize(encoder.finish());
  return out;
}

std::optional<ByteVector> decode(ByteVector stuffed) {
  const std::optional<std::size_t> size = cobs_decode(MutableBytes(stuffed.data(), stuffed.size()));
  if (!size) return std::nullopt;
  stuffed.resize(*size);
  return stuffed;
}

ByteVector counting(std::size_t size) {
  ByteVector bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(1 + i % 255);
  return bytes;
}

}  // namespace

TEST(the_examples_of_the_paper_come_out) {
  CHECK_EQ(encode({}, 1), (ByteVector{0x01}));
  CHECK_EQ(encode({0}, 1), (ByteVector{0x01, 0x01}));
  CHECK_EQ(encode({0x11, 0x22, 0x00, 0x33}, 1), (ByteVector{0x03, 0x11, 0x22, 0x02, 0x33}));
  CHECK_EQ(encode({0x11, 0x00, 0x00, 0x00}, 1), (ByteVector{0x02, 0x11, 0x01, 0x01, 0x01}));
}

TEST(a_full_block_at_the_end_is_followed_by_nothing) {
  const ByteVector stuffed = encode(counting(254), 254);
  CHECK_EQ(stuffed.size(), std::size_t{255});
  CHECK_EQ(stuffed[0], std::uint8_t{0xFF});
}

TEST(every_length_comes_back_with_and_without_zeros_in_any_pieces) {
  for (std::size_t size = 0; size < 1100; size += size < 600 ? 1 : 97) {
    ByteVector bytes = counting(size);
    for (const std::size_t zero_every : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{255}}) {
      for (std::size_t i = 0; zero_every != 0 && i < size; i += zero_every) bytes[i] = 0;
      const ByteVector stuffed = encode(bytes, 1 + size % 7);
      CHECK(stuffed == encode(bytes, 1000000));
      CHECK(stuffed.size() <= cobs_limit(size));
      for (const std::uint8_t byte : stuffed) {
        if (byte == 0) CHECK(false);
      }
      CHECK(decode(stuffed) == bytes);
    }
  }
}

TEST(damaged_bytes_decode_to_nothing) {
  CHECK(!decode({}));
  CHECK(!decode({0x00}));
  CHECK(!decode({0x03, 0x11}));
  CHECK(!decode({0x03, 0x00, 0x11}));
  CHECK(!decode({0x02, 0x11, 0xFF}));
}
