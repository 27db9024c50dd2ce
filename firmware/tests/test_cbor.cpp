#include "check.h"
#include "hil/cbor.h"
#include "stream.h"

using namespace hil;
using hil::test::to_hex;

namespace {

template <typename Body>
std::string written(Body body) {
  std::uint8_t raw[128];
  CborWriter writer{MutableBytes(raw)};
  body(writer);
  CHECK(writer.ok());
  return to_hex(Bytes(raw, writer.size()));
}

}  // namespace

// The examples of RFC 8949, appendix A.
TEST(unsigned_integers_take_the_shortest_form) {
  const std::pair<std::uint64_t, const char*> examples[] = {{0, "00"},
                                                            {23, "17"},
                                                            {24, "1818"},
                                                            {255, "18ff"},
                                                            {256, "190100"},
                                                            {65535, "19ffff"},
                                                            {65536, "1a00010000"},
                                                            {4294967295, "1affffffff"},
                                                            {4294967296, "1b0000000100000000"},
                                                            {18446744073709551615u, "1bffffffffffffffff"}};
  for (const auto& [value, hex] : examples) {
    const std::uint64_t number = value;
    CHECK_EQ(written([&](CborWriter& to) { to.uint(number); }), hex);
  }
}

TEST(negative_integers_count_from_minus_one) {
  CHECK_EQ(written([](CborWriter& to) { to.integer(-1); }), "20");
  CHECK_EQ(written([](CborWriter& to) { to.integer(-100); }), "3863");
  CHECK_EQ(written([](CborWriter& to) { to.integer(7); }), "07");
}

TEST(texts_arrays_and_maps_carry_their_length) {
  CHECK_EQ(written([](CborWriter& to) { to.text("IETF"); }), "6449455446");
  CHECK_EQ(written([](CborWriter& to) { to.array(2).uint(1).null(); }), "8201f6");
  CHECK_EQ(written([](CborWriter& to) { to.map(1).field("a", "b"); }), "a161616162");
  CHECK_EQ(written([](CborWriter& to) { to.open_array().uint(1).end(); }), "9f01ff");
}

TEST(what_does_not_fit_is_left_out_and_said) {
  std::uint8_t raw[4] = {};
  CborWriter writer{MutableBytes(raw)};
  writer.uint(1).text("too long").uint(2);
  CHECK(!writer.ok());
  CHECK(writer.size() <= sizeof raw);
}

TEST(floats_of_32_bits_keep_their_bits) {
  CHECK_EQ(written([](CborWriter& to) { to.float32(100000.0f); }), "fa47c35000");
}
