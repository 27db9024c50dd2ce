#include "check.h"
#include "hil/crc32.h"
#include "hil/frame.h"
#include "stream.h"

using namespace hil;
using namespace hil::test;

namespace {

ByteVector joined(std::initializer_list<ByteVector> parts) {
  ByteVector all;
  for (const ByteVector& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

ByteVector text(std::string_view value) { return copy(as_bytes(value)); }

}  // namespace

TEST(a_frame_comes_back_as_it_was) {
  const ByteVector payload{1, 0, 0xFF, 0x90};
  CHECK_EQ(decode(view(encode(0x87, 3, 0x1234, view(payload))), 256, 1), "F870312340100ff90");
}

TEST(console_text_passes_between_frames) {
  const ByteVector frame = encode(0x87, 1, 2, {});
  CHECK_EQ(decode(view(joined({text("I (3) boot\n"), frame, text("ok"), frame})), 256, 1000),
           "T49202833292062"
           "6f6f740a F87010002 T6f6b F87010002");
}

TEST(decoder_resumes_after_a_corrupt_frame) {
  const ByteVector frame = encode(0x90, 1, 2, view(ByteVector(40, 0x80)));
  for (std::size_t at = 1; at + 1 < frame.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      ByteVector damaged = frame;
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ 1 << bit);
      const std::string events = decode(view(joined({damaged, encode(0x87, 1, 3, {})})), 256, 5);
      CHECK_EQ(events.substr(events.size() - 9), "F87010003");
      CHECK(events.find("F9001") == std::string::npos);
    }
  }
}

TEST(every_split_of_a_stream_gives_the_same) {
  ByteVector stream;
  for (int i = 0; i < 20; ++i) {
    stream = joined({stream, text("line of the console\r\n"),
                     encode(0x90, 1, 2, view(ByteVector(static_cast<std::size_t>(i * 37), 7)))});
  }
  stream[100] ^= 1;
  stream[300] = 0;
  const std::string whole = decode(view(stream), 256, stream.size());
  for (std::size_t step = 1; step < 300; ++step) CHECK_EQ(decode(view(stream), 256, step), whole);
}

TEST(a_frame_longer_than_the_limit_is_noise_and_its_text_goes_out_before_it_ends) {
  ByteVector stuffed = joined({{0, 0x20, 0x90}, ByteVector(300, 0x81), text("abort() was called")});
  CHECK_EQ(decode(view(stuffed), 256, 10),
           "T61626f727428292077617320"
           "63616c6c6564");
  stuffed.push_back(0);
  CHECK_EQ(decode(view(stuffed), 256, 10),
           "T61626f727428292077617320"
           "63616c6c6564 N320");
}

TEST(a_body_that_begins_with_zero_is_no_frame_even_if_its_crc_holds) {
  // encoded 01 87 ...: the code of the second block looks like a kind
  ByteVector body(131, 0x33);
  body[0] = 0;
  const std::uint32_t crc = crc32(view(body));
  for (int i = 0; i < 4; ++i) body.push_back(static_cast<std::uint8_t>(crc >> (8 * i)));
  ByteVector stuffed(cobs_limit(body.size()));
  CobsEncoder cobs(stuffed.data());
  cobs.put(view(body));
  stuffed.resize(cobs.finish());
  CHECK_EQ(stuffed[1], std::uint8_t{0x87});
  const std::string events = decode(view(joined({stuffed, {0}})), 256, 3);
  CHECK_EQ(events.substr(events.size() - 5), " N136");
}

// Stuffing may spare what it is allowed to add: the frame fits the buffer and is too long all the same.
TEST(a_payload_over_the_limit_is_noise_even_if_it_fits_the_buffer) {
  const ByteVector payload(301, 0);
  const ByteVector frame = encode(0x90, 1, 2, view(payload));
  CHECK(frame.size() - 2 <= stuffed_limit(300));
  CHECK_EQ(decode(view(frame), 300, 11), "N" + std::to_string(frame.size() - 2));
  CHECK_EQ(decode(view(frame), 301, 11)[0], 'F');
}

TEST(printable_runs_of_noise_end_where_ascii_ends) {
  const ByteVector edges{0x20, 0x7E, 0x09, 0x0A, 0x0D, 0x1B, 0x41, 0x42};
  for (const std::uint8_t outside : ByteVector{0x1F, 0x7F, 0x0B, 0x08}) {
    ByteVector stream{0, 0x05, 0x90, outside};
    stream.insert(stream.end(), edges.begin(), edges.end());
    stream.push_back(outside);
    stream.insert(stream.end(), edges.begin() + 1, edges.end());
    stream.push_back(0);
    CHECK_EQ(decode(view(stream), 256, 4), "T207e090a0d1b4142 N19");
  }
}
