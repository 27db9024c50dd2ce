#include "check.h"
#include "hil/messages.h"
#include "host.h"

using namespace hil;
using hil::test::Payload;

TEST(a_payload_with_a_byte_too_few_or_too_many_is_no_message) {
  const Payload hello = Payload().u8(1).u8(1).u32(7).u16(256);
  CHECK(parse_hello(hello).has_value());
  CHECK(!parse_hello(Bytes(hello).first(7)));
  CHECK(!parse_hello(Payload(hello).u8(0)));
  CHECK(!parse_open_write(Payload().u8(1)));
  CHECK(!parse_open_read(Payload().u8(1).u16(0).u16(0).u32(0).u32(0).u8(0)));
  CHECK(!parse_load(Payload().u8(1).u8(1)));
  CHECK(!parse_cancel(Payload().u8(1)));
  CHECK(!parse_data(Payload().u16(1).u16(0)));
}

TEST(run_takes_a_name_exactly_when_it_captures_and_inputs_only_when_inline) {
  const auto run = [](std::uint8_t flags, std::string_view name, std::string_view inputs) {
    return parse_run(test::Host::run_payload(0, flags, 0, 1, name, as_bytes(inputs)));
  };
  CHECK(run(0, "", "").has_value());
  CHECK(run(Run::kCapture, "conv", "").has_value());
  CHECK(run(Run::kInlineInputs, "", "abc").has_value());
  CHECK(!run(Run::kCapture, "", ""));
  CHECK(!run(0, "conv", ""));
  CHECK(!run(0, "", "abc"));
  CHECK(!run(16, "", ""));
  CHECK(!parse_run(Payload().u16(0).u8(0).u8(1).u16(0).u16(1).u8(9).text("short")));
}

TEST(ack_ranges_are_whole_ordered_and_at_most_eight) {
  Payload ack = Payload().u16(1).u8(0).u32(0).u32(100);
  CHECK_EQ(parse_ack(ack)->range_count, std::size_t{0});
  for (std::uint32_t i = 0; i < 8; ++i) ack.u32(10 * i + 1).u32(10 * i + 5);
  CHECK_EQ(parse_ack(ack)->range_count, std::size_t{8});
  CHECK(!parse_ack(Payload(ack).u32(200).u32(300)));
  CHECK(!parse_ack(Payload().u16(1).u8(0).u32(0).u32(0).u32(5)));
  CHECK(!parse_ack(Payload().u16(1).u8(0).u32(0).u32(0).u32(5).u32(5)));
}

TEST(reset_knows_two_modes) {
  CHECK(parse_reset(Payload().u8(1)).has_value());
  CHECK(!parse_reset(Payload().u8(2)));
}

TEST(text_is_cut_between_characters) {
  CHECK_EQ(cut_text("gr\xC3\xBC\xC3\x9F", 6), std::string_view("gr\xC3\xBC\xC3\x9F"));
  CHECK_EQ(cut_text("gr\xC3\xBC\xC3\x9F", 5), std::string_view("gr\xC3\xBC"));
  CHECK_EQ(cut_text("gr\xC3\xBC\xC3\x9F", 4), std::string_view("gr\xC3\xBC"));
  CHECK_EQ(cut_text("gr\xC3\xBC\xC3\x9F", 3), std::string_view("gr"));
  FixedText<5> fixed("a\xC3\xBC");
  CHECK_EQ(fixed.append("bc\xC3\xBC").append("d").view(), std::string_view("a\xC3\xBC"
                                                                           "bc"));
}
