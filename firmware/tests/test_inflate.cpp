// DEFLATE; streams made by zlib are in tests/vectors/wire.jsonl (test_vectors).
#include "hil/inflate.h"

#include "check.h"
#include "stream.h"

using namespace hil;
using namespace hil::test;

namespace {

std::string unpacked(const std::string& packed, std::size_t room = 1000) {
  ByteVector into(room);
  const std::optional<std::size_t> size = inflate(view(from_hex(packed)), MutableBytes(into.data(), into.size()));
  return size ? to_hex(view(into).first(*size)) : "refused";
}

// Bits of a DEFLATE stream: lowest first, Huffman codes highest first (RFC 1951, section 3.1.1).
class BitWriter {
 public:
  void bits(std::uint32_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i) bit(value >> i & 1u);
  }
  void code(std::uint32_t value, unsigned count) {
    for (unsigned i = count; i-- > 0;) bit(value >> i & 1u);
  }
  Bytes bytes() const { return view(bytes_); }

 private:
  void bit(std::uint32_t one) {
    if (at_ % 8 == 0) bytes_.push_back(0);
    bytes_.back() = static_cast<std::uint8_t>(bytes_.back() | one << at_ % 8);
    ++at_;
  }
  ByteVector bytes_;
  std::size_t at_ = 0;
};

// A byte that says where it stands, over all that a stream may reach back.
std::uint8_t standing_at(std::size_t place) { return static_cast<std::uint8_t>((place * 2654435761u) >> 24); }

}  // namespace

TEST(a_stored_block_is_copied) {
  CHECK_EQ(unpacked("010300fcff616263"), "616263");
  CHECK_EQ(unpacked("010000ffff"), "");
}

TEST(a_stretch_that_overlaps_what_it_makes_repeats_it) {
  CHECK_EQ(unpacked("4b840300"), "61616161616161616161");
  CHECK_EQ(unpacked("4b4c4a044200"), "616261626162");
}

TEST(a_cut_stream_is_refused_at_every_byte) {
  const std::string whole = "4b4c4a4e04a11420990ac46900";
  CHECK_EQ(unpacked(whole), "6162636162636162646162636561626366");
  for (std::size_t digits = 0; digits < whole.size(); digits += 2) CHECK_EQ(unpacked(whole.substr(0, digits)), "refused");
}

TEST(damaged_streams_are_refused) {
  CHECK_EQ(unpacked("07"), "refused");                // block of kind 3
  CHECK_EQ(unpacked("010300fcfe616263"), "refused");  // the length and its complement differ
  CHECK_EQ(unpacked("010300fcff6162"), "refused");
  CHECK_EQ(unpacked("010300fcff616263ff"), "refused");  // something follows the last block
  CHECK_EQ(unpacked("4b02c100"), "refused");            // a stretch from before the beginning
  CHECK_EQ(unpacked("05e0810800000000"), "refused");    // a code without an end of block
}

TEST(nothing_is_written_beyond_the_room) {
  CHECK_EQ(unpacked("010300fcff616263", 2), "refused");
  CHECK_EQ(unpacked("4b840300", 9), "refused");
  CHECK_EQ(unpacked("4b840300", 10), "61616161616161616161");
}

TEST(every_distance_code_reaches_as_far_back_as_the_format_says) {
  constexpr std::size_t kReach = 32768, kLength = 3;
  std::size_t base = 1;
  for (std::uint32_t symbol = 0; symbol < 30; ++symbol) {
    const unsigned extra = symbol < 4 ? 0 : (symbol - 2) / 2;
    for (const std::size_t distance : {base, base + (std::size_t{1} << extra) - 1}) {
      BitWriter stream;
      for (std::size_t at = 0; at < kReach; at += kReach / 2) {
        // a stored block: kind 0, then to the next byte, the length and its complement
        stream.bits(0, 8);
        stream.bits(kReach / 2, 16);
        stream.bits(0xffff - kReach / 2, 16);
        for (std::size_t i = at; i < at + kReach / 2; ++i) stream.bits(standing_at(i), 8);
      }
      stream.bits(3, 3);    // the last block, of fixed codes
      stream.code(1, 7);    // length 3
      stream.code(symbol, 5);
      stream.bits(static_cast<std::uint32_t>(distance - base), extra);
      stream.code(0, 7);
      ByteVector into(kReach + kLength), wanted;
      const std::optional<std::size_t> size = inflate(stream.bytes(), MutableBytes(into.data(), into.size()));
      CHECK(size == into.size());
      for (std::size_t i = 0; i < kLength; ++i) {
        const std::size_t from = kReach + i - distance;
        wanted.push_back(from < kReach ? standing_at(from) : wanted[from - kReach]);
      }
      CHECK_EQ(to_hex(Bytes(into.data() + kReach, kLength)), to_hex(view(wanted)));
    }
    base += std::size_t{1} << extra;
  }
  CHECK(base == kReach + 1);
}
