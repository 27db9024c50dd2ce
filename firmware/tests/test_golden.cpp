// Golden sets that stay on the device, and packed data. docs/PROTOCOL.md, section 8.
#include "check.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

constexpr std::uint32_t kRecords = 10;
constexpr std::uint32_t kRecordBytes = 64;

Sha256::Digest digest_of(Bytes bytes) {
  Sha256 sha;
  sha.update(bytes);
  return sha.finish();
}

Payload golden_payload(const ByteVector& set, std::uint32_t record_bytes = kRecordBytes) {
  const Sha256::Digest name = digest_of(view(set));
  return Payload()
      .u32(static_cast<std::uint32_t>(set.size()) / record_bytes)
      .u32(record_bytes)
      .bytes(Bytes(name.data(), name.size()));
}

bool found(Host& host, const ByteVector& set) {
  const Received answer = host.ask(kind::kGolden, golden_payload(set));
  CHECK_EQ(answer.status(), Status::kOk);
  return answer.body().u8() == 1;
}

void put(Host& host, const ByteVector& set) {
  if (found(host, set)) return;
  host.clear();
  CHECK_EQ(host.write(Object::kGolden, 0, 0, view(set)), Status::kOk);
  CHECK(found(host, set));
}

ByteVector output_of(Bytes input) {
  ByteVector output(16);
  for (std::size_t i = 0; i < output.size(); ++i) output[i] = static_cast<std::uint8_t>(input[i] ^ 0x5A);
  return output;
}

Received run_record(Host& host, std::uint32_t record, std::uint8_t more = 0, Bytes digest = {}) {
  const auto flags = static_cast<std::uint8_t>(Run::kGolden | Run::kInlineOutputs | more);
  return host.ask(kind::kRun, host.run_payload(0, flags, 0, 1).u32(record).bytes(digest));
}

}  // namespace

TEST(a_stored_set_is_found_by_its_name_and_run_by_number) {
  Host host;
  host.load_model();
  const ByteVector set = pattern(kRecords * kRecordBytes);
  CHECK(!found(host, set));
  put(host, set);
  for (std::uint32_t record = 0; record < kRecords; ++record) {
    const Received answer = run_record(host, record);
    CHECK_EQ(answer.status(), Status::kOk);
    const Bytes inlined = view(answer.payload).from(19);
    CHECK_EQ(to_hex(inlined), to_hex(view(output_of(view(set).from(record * kRecordBytes)))));
  }
  CHECK_EQ(run_record(host, kRecords).status(), Status::kBadRange);
}

TEST(a_new_session_finds_the_set_again) {
  Host host;
  host.load_model();
  const ByteVector set = pattern(kRecords * kRecordBytes);
  put(host, set);
  host.hello(3, 500, 2);
  CHECK_EQ(run_record(host, 0).status(), Status::kMissingInput);
  CHECK(found(host, set));
  CHECK_EQ(run_record(host, 0).status(), Status::kOk);
}

TEST(several_sets_are_kept_side_by_side) {
  Host host;
  host.load_model();
  for (const std::uint32_t seed : {1, 2, 3}) put(host, pattern(kRecords * kRecordBytes, seed));
  for (const std::uint32_t seed : {1, 2, 3}) CHECK(found(host, pattern(kRecords * kRecordBytes, seed)));
}

TEST(a_set_that_does_not_fit_behind_the_others_takes_their_place) {
  Host host;
  host.load_model();
  put(host, pattern(4096, 1));
  put(host, pattern(2048, 2));
  put(host, pattern(4096, 3));
  CHECK(!found(host, pattern(4096, 1)));
  CHECK(found(host, pattern(4096, 3)));
}

TEST(a_set_larger_than_the_store_is_refused) {
  Host host;
  host.load_model();
  CHECK_EQ(host.ask(kind::kGolden, golden_payload(pattern(8192))).status(), Status::kTooLarge);
  CHECK_EQ(host.ask(kind::kGolden, golden_payload(pattern(8128))).status(), Status::kOk);
}

TEST(a_damaged_set_is_not_found_and_can_be_written_again) {
  Host host;
  host.load_model();
  const ByteVector set = pattern(kRecords * kRecordBytes);
  put(host, set);
  host.region.bytes[64 + 100] ^= 0x10;
  CHECK(!found(host, set));
  put(host, set);
  CHECK_EQ(run_record(host, 3).status(), Status::kOk);
}

TEST(a_set_that_was_not_written_to_its_end_is_not_found) {
  Host host;
  host.load_model();
  const ByteVector set = pattern(kRecords * kRecordBytes);
  CHECK(!found(host, set));
  const std::uint16_t transfer = host.open_write(Object::kGolden, 0, 0, view(set));
  host.data(transfer, 0, view(set).first(300));
  CHECK_EQ(host.ask(kind::kGolden, golden_payload(set)).status(), Status::kBusy);
  host.hello(3, 500, 2);
  CHECK(!found(host, set));
  put(host, set);
}

TEST(a_set_must_be_asked_for_before_it_is_written) {
  Host host;
  host.load_model();
  const ByteVector set = pattern(kRecords * kRecordBytes);
  CHECK_EQ(host.write(Object::kGolden, 0, 0, view(set)), Status::kBadObject);
  CHECK(!found(host, set));
  CHECK_EQ(host.write(Object::kGolden, 0, 0, view(set).first(64)), Status::kBadRange);
  CHECK_EQ(host.write(Object::kGolden, 1, 0, view(set)), Status::kBadObject);
}

TEST(records_of_another_size_than_the_inputs_are_refused) {
  Host host;
  host.load_model();
  const ByteVector set = pattern(640);
  CHECK_EQ(host.ask(kind::kGolden, golden_payload(set, 32)).body().u8(), std::uint8_t{0});
  CHECK_EQ(host.write(Object::kGolden, 0, 0, view(set)), Status::kOk);
  CHECK_EQ(host.ask(kind::kGolden, golden_payload(set, 32)).body().u8(), std::uint8_t{1});
  CHECK_EQ(run_record(host, 0).status(), Status::kBadRange);
}

TEST(outputs_as_expected_stay_on_the_device) {
  Host host;
  host.load_model();
  const ByteVector set = pattern(kRecords * kRecordBytes);
  put(host, set);
  const ByteVector output = output_of(view(set));
  const Sha256::Digest right = digest_of(view(output));
  const Bytes digest(right.data(), Run::kDigestBytes);
  CHECK_EQ(to_hex(view(run_record(host, 0, Run::kExpect, digest).payload).from(19)), "01");
  CHECK_EQ(to_hex(view(run_record(host, 1, Run::kExpect, digest).payload).from(19)),
           "00" + to_hex(view(output_of(view(set).from(kRecordBytes)))));
}

TEST(a_device_without_a_store_says_so) {
  Host host;
  Server server(Config{Host::kMaxPayload, Host::kWindow, 4}, host.memory.buffers(),
                Parts{host.engine, host.board, host.storage, host.clock, host.inline_});
  const ByteVector hello = encode(kind::kHello, 1, 1, Payload().u8(1).u8(1).u32(1).u16(512));
  server.receive(view(hello));
  std::uint8_t line[600];
  (void)server.transmit(MutableBytes(line));
  CHECK_EQ(line[1 + 1 + 4 + 14] & HelloAnswer::kGolden, 0);
}

TEST(packed_data_arrive_unpacked) {
  Host host;
  host.load_model();
  const ByteVector input(64, 0x61);
  const std::uint16_t transfer = host.open_write(Object::kInput, 0, 1, view(input));
  const ByteVector ten = from_hex("4b840300");  // ten letters a
  for (std::uint32_t at = 0; at < 60; at += 10) {
    host.send(kind::kPacked, host.session, transfer, Payload().u16(transfer).u32(at).bytes(view(ten)));
  }
  host.data(transfer, 60, view(input).from(60));
  CHECK_EQ(host.last_ack()->status, Status::kOk);
  CHECK(host.read(Object::kInput, 0, 1) == input);
}

TEST(packed_data_that_cannot_be_unpacked_are_a_fault) {
  Host host;
  host.load_model();
  const std::uint16_t transfer = host.open_write(Object::kInput, 0, 1, view(ByteVector(64)));
  host.send(kind::kPacked, host.session, transfer, Payload().u16(transfer).u32(0).u8(0x07));
  CHECK_EQ(host.all(kind::kFault).back().status(), Status::kBadRequest);
}

TEST(inputs_of_a_run_may_be_packed) {
  Host host;
  host.load_model();
  const ByteVector stored = from_hex("014000bfff");
  const ByteVector input = pattern(64);
  const Payload whole = Payload().bytes(view(stored)).bytes(view(input));
  const auto flags = static_cast<std::uint8_t>(Run::kInlineInputs | Run::kInlineOutputs | Run::kPacked);
  const Received answer = host.run(0, flags, 0, 1, {}, whole);
  CHECK_EQ(to_hex(view(answer.payload).from(19)), to_hex(view(output_of(view(input)))));
  CHECK_EQ(host.run(0, flags, 0, 1, {}, view(stored)).status(), Status::kBadRequest);
  CHECK_EQ(host.run(0, flags, 0, 1, {}, view(from_hex("4b840300"))).status(), Status::kBadRange);
}
