// LINE, PRBS and PATTERN. docs/PROTOCOL.md, section 7.
#include "check.h"
#include "hil/pattern.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

constexpr std::uint32_t kFast = 921600;

Payload line_payload(std::uint32_t baud, std::uint16_t trial_ms, std::uint8_t pad = 0) {
  return Payload().u32(baud).u16(trial_ms).u8(pad);
}

Received ask_line(Host& host, std::uint32_t baud, std::uint16_t trial_ms, std::uint8_t pad = 0) {
  return host.ask(kind::kLine, line_payload(baud, trial_ms, pad));
}

void keep(Host& host, std::uint32_t baud) {
  CHECK_EQ(ask_line(host, baud, 500).status(), Status::kOk);
  CHECK_EQ(ask_line(host, 0, 0).status(), Status::kOk);
}

ByteVector pattern_payload(std::uint16_t number, std::size_t size) {
  ByteVector payload{static_cast<std::uint8_t>(number), static_cast<std::uint8_t>(number >> 8)};
  Pattern bits(number);
  for (std::size_t i = 0; i < size; ++i) payload.push_back(bits.next());
  return payload;
}

}  // namespace

TEST(the_rate_changes_when_the_answer_has_left) {
  Host host;
  host.hello();
  const ByteVector frame = encode(kind::kLine, host.session, host.next_seq++, line_payload(kFast, 500));
  host.server.receive(view(frame));
  CHECK_EQ(host.rate.changes, 0);
  std::uint8_t piece[8];
  while (host.server.transmit(MutableBytes(piece, 8)) == 8) CHECK_EQ(host.rate.changes, 0);
  host.take();
  CHECK_EQ(host.rate.rate, kFast);
}

TEST(nothing_is_sent_between_the_answer_and_the_change) {
  Host host;
  host.hello();
  const ByteVector frame = encode(kind::kLine, host.session, host.next_seq++, line_payload(kFast, 500));
  host.server.receive(view(frame));
  host.server.log(1, "behind it");
  std::uint8_t piece[600];
  const std::size_t answer = host.server.transmit(MutableBytes(piece));
  CHECK(answer > 0 && answer < 25);
  CHECK_EQ(host.rate.changes, 0);
  CHECK(host.server.transmit(MutableBytes(piece)) > 0);
  CHECK_EQ(host.rate.changes, 1);
}

TEST(a_trial_that_nobody_confirms_ends) {
  Host host;
  host.hello();
  CHECK_EQ(ask_line(host, kFast, 500).body().u32(), kFast);
  host.rate.time_ms += 499;
  host.poll();
  CHECK_EQ(host.rate.rate, kFast);
  host.rate.time_ms += 1;
  host.poll();
  CHECK_EQ(host.rate.rate, 115200u);
}

TEST(a_confirmed_rate_stays) {
  Host host;
  host.hello();
  keep(host, kFast);
  host.rate.time_ms += 100000;
  host.poll();
  CHECK_EQ(host.rate.rate, kFast);
}

TEST(a_failed_trial_goes_back_to_the_rate_that_was_kept) {
  Host host;
  host.hello();
  keep(host, kFast);
  CHECK_EQ(ask_line(host, 2000000, 100).status(), Status::kOk);
  host.rate.time_ms += 100;
  host.poll();
  CHECK_EQ(host.rate.rate, kFast);
}

TEST(the_rate_of_the_start_needs_no_trial) {
  Host host;
  host.hello();
  keep(host, kFast);
  CHECK_EQ(ask_line(host, 115200, 0).status(), Status::kOk);
  host.rate.time_ms += 100000;
  host.poll();
  CHECK_EQ(host.rate.rate, 115200u);
}

TEST(a_host_that_talks_at_the_rate_of_the_start_is_heard_again) {
  Host host;
  host.hello();
  keep(host, kFast);
  const std::uint8_t garbage[] = {0xF8, 0x80, 0x78, 0xF8, 0x00};
  host.server.receive(garbage);
  host.rate.time_ms += RateKeeper::kNoiseMs - 1;
  host.server.receive(garbage);
  CHECK_EQ(host.rate.rate, kFast);
  host.rate.time_ms += 1;
  host.server.receive(garbage);
  CHECK_EQ(host.rate.rate, 115200u);
}

TEST(noise_between_frames_is_no_reason_to_leave_a_rate) {
  Host host;
  host.hello();
  keep(host, kFast);
  const std::uint8_t garbage[] = {0xF8, 0x80, 0x78, 0xF8, 0x00};
  for (int i = 0; i < 10; ++i) {
    host.server.receive(garbage);
    host.rate.time_ms += 300;
    host.ask(kind::kPing, {});
  }
  CHECK_EQ(host.rate.rate, kFast);
}

TEST(a_rate_that_cannot_be_made_is_refused) {
  Host host;
  host.hello();
  CHECK_EQ(ask_line(host, 5000000, 500).status(), Status::kBadRange);
  CHECK_EQ(ask_line(host, kFast, 0).status(), Status::kBadRange);
  CHECK_EQ(ask_line(host, kFast, 10001).status(), Status::kBadRange);
  CHECK_EQ(host.ask(kind::kLine, Payload().u32(kFast)).status(), Status::kBadRequest);
  CHECK_EQ(host.rate.changes, 0);
}

TEST(what_is_sent_ends_with_the_pad_once) {
  Host host;
  host.hello();
  CHECK_EQ(ask_line(host, 0, 0, 62).status(), Status::kOk);
  const ByteVector frame = encode(kind::kPing, host.session, host.next_seq++, {});
  host.server.receive(view(frame));
  std::uint8_t line[700];
  const std::size_t size = host.server.transmit(MutableBytes(line));
  CHECK_EQ(to_hex(Bytes(line, size).from(size - 62)), std::string(124, '0'));
  CHECK(line[size - 63] == 0 && line[size - 64] != 0);
  CHECK_EQ(host.server.transmit(MutableBytes(line)), std::size_t{0});
}

TEST(patterns_are_counted_and_sent_back) {
  Host host;
  host.hello();
  for (std::uint16_t number = 0; number < 3; ++number) {
    host.send(kind::kPattern, host.session, number, view(pattern_payload(number, 100)));
  }
  ByteVector wrong = pattern_payload(9, 50);
  wrong.back() ^= 1;
  host.send(kind::kPattern, host.session, 9, view(wrong));
  const std::uint8_t noise[] = {0x03, 0x85, 0x11, 0x00};
  host.server.receive(noise);
  host.clear();
  Body counts = host.ask(kind::kPrbs, Payload().u16(4).u16(200)).body();
  CHECK_EQ(counts.u32(), 4u);
  CHECK_EQ(counts.u32(), 1u);
  CHECK_EQ(counts.u32(), 1u);
  const std::vector<Received> sent = host.all(kind::kPattern);
  CHECK_EQ(sent.size(), std::size_t{4});
  for (std::uint16_t number = 0; number < sent.size(); ++number) {
    CHECK(sent[number].payload == pattern_payload(number, 200));
  }
  Body again = host.ask(kind::kPrbs, Payload().u16(0).u16(0)).body();
  CHECK_EQ(again.u32(), 0u);
}

TEST(a_host_cannot_ask_for_patterns_without_end) {
  Host host;
  host.hello();
  CHECK_EQ(host.ask(kind::kPrbs, Payload().u16(257).u16(10)).status(), Status::kTooLarge);
  CHECK_EQ(host.ask(kind::kPrbs, Payload().u16(1).u16(Host::kMaxPayload - 1)).status(), Status::kTooLarge);
  CHECK_EQ(host.all(kind::kPattern).size(), std::size_t{0});
}

TEST(the_pattern_has_its_period_and_no_shorter_one) {
  Pattern bits(0);
  ByteVector sequence;
  for (int i = 0; i < 32767 + 4; ++i) sequence.push_back(bits.next());
  CHECK(std::equal(sequence.begin(), sequence.begin() + 4, sequence.begin() + 32767));
  for (const std::ptrdiff_t divisor : {7, 31, 151, 217, 1057, 4681}) {
    CHECK(!std::equal(sequence.begin(), sequence.begin() + 4, sequence.begin() + divisor));
  }
}
