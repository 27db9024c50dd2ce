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
