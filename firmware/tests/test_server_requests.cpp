// Objects, models and runs with an engine that answers at once. docs/PROTOCOL.md, sections 3 to 5.
#include "check.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

ByteVector expected_output(const ByteVector& input, std::size_t bytes) {
  ByteVector output(bytes);
  for (std::size_t i = 0; i < bytes; ++i) output[i] = static_cast<std::uint8_t>(input[i % input.size()] ^ 0x5A);
  return output;
}

bool holds(const ByteVector& bytes, std::string_view text) {
  return as_text(view(bytes)).find(text) != std::string_view::npos;
}

}  // namespace

TEST(a_model_is_loaded_run_and_read) {
  Host host;
  host.load_model();
  const ByteVector input = pattern(64);
  CHECK_EQ(host.write(Object::kInput, 0, 2, view(input)), Status::kOk);
  const Received answer = host.run(2, 0, 1, 3);
  CHECK_EQ(answer.status(), Status::kOk);
  Body body = answer.body();
  CHECK_EQ(body.u64(), 100u);  // cold: the clock counts 100 a call
  CHECK_EQ(body.u64(), 100u);
  CHECK_EQ(body.u16(), std::uint16_t{3});
  CHECK(body.ok_and_empty());
  CHECK_EQ(host.engine.invocations, 4);
  CHECK(host.read(Object::kOutput, 0, 2) == expected_output(input, 16));
  CHECK(host.read(Object::kInput, 0, 2) == input);
  CHECK_EQ(host.read(Object::kCycles).size(), std::size_t{24});
}

TEST(load_tells_the_generation_and_the_slots) {
  Host host;
  host.load_model();
  Body body = host.ask(kind::kLoad, Payload().u8(1).u8(2).u16(0).text("/sd/m.espdl")).body();
  CHECK_EQ(body.u32(), 2u);
  CHECK_EQ(body.u8(), std::uint8_t{4});
  CHECK_EQ(host.engine.path, "/sd/m.espdl");
  CHECK_EQ(host.engine.loads, 2);
}

TEST(cold_is_told_by_the_first_run_only) {
  Host host;
  host.load_model();
  const ByteVector input = pattern(64);
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 1, {}, view(input)).body().u64(), 100u);
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 1, {}, view(input)).body().u64(), 0u);
}

TEST(inline_outputs_come_with_the_answer_when_they_fit) {
  Host host;
  host.load_model();
  const ByteVector input = pattern(64, 5);
  const Received answer = host.run(0, Run::kInlineInputs | Run::kInlineOutputs, 0, 1, {}, view(input));
  const Bytes outputs = view(answer.payload).from(RunAnswer::kFixedBytes);
  CHECK(copy(outputs) == expected_output(input, 16));
  Host large;
  large.engine.shape.outputs = {NullMemory::kAnswerBytes};
  large.load_model();
  const Received without = large.run(0, Run::kInlineInputs | Run::kInlineOutputs, 0, 1, {}, view(input));
  CHECK_EQ(without.payload.size(), RunAnswer::kFixedBytes);
  CHECK(large.read(Object::kOutput) == expected_output(input, NullMemory::kAnswerBytes));
}

TEST(several_inputs_and_outputs_keep_their_order) {
  Host host;
  host.engine.shape.inputs = {10, 20};
  host.engine.shape.outputs = {5, 7};
  host.load_model();
  const ByteVector inputs = pattern(30);
  CHECK_EQ(host.run(1, Run::kInlineInputs, 0, 1, {}, view(inputs)).status(), Status::kOk);
  CHECK(host.read(Object::kInput, 0, 1) == ByteVector(inputs.begin(), inputs.begin() + 10));
  CHECK(host.read(Object::kOutput, 1, 1) == expected_output(ByteVector(inputs.begin() + 10, inputs.end()), 7));
}

TEST(capture_and_profile_take_a_run_of_their_own) {
  Host host;
  host.load_model();
  const ByteVector input = pattern(64);
  const std::uint8_t flags = Run::kInlineInputs | Run::kCapture | Run::kProfile;
  CHECK_EQ(host.run(0, flags, 1, 2, "in", view(input)).status(), Status::kOk);
  CHECK_EQ(host.engine.invocations, 4);
  CHECK(host.read(Object::kTensor) == input);
  CHECK_EQ(to_hex(view(host.read(Object::kProfile))),
           "9f8366636f6e765f3064436f6e761903e88366"
           "67656d6d5f31"
           "6447656d6d1818ff");
  CHECK_EQ(host.run(0, flags, 0, 0, "in", view(input)).status(), Status::kOk);
  CHECK_EQ(host.engine.invocations, 5);
  CHECK_EQ(host.run(0, Run::kCapture, 0, 1, "nowhere").status(), Status::kUnknownTensor);
}

TEST(what_no_run_has_made_cannot_be_read) {
  Host host;
  host.hello();
  CHECK_EQ(host.open_read(Object::kOutput).status(), Status::kNoModel);
  host.load_model();
  for (const Object object : {Object::kOutput, Object::kTensor, Object::kProfile, Object::kCycles, Object::kModel}) {
    CHECK_EQ(host.open_read(object).status(), Status::kBadObject);
  }
  CHECK_EQ(host.open_read(static_cast<Object>(8)).status(), Status::kBadObject);
}

TEST(a_run_that_cannot_be_is_refused_with_its_reason) {
  Host host;
  host.hello();
  CHECK_EQ(host.run(0, 0, 0, 1).status(), Status::kNoModel);
  host.load_model();
  CHECK_EQ(host.run(0, 0, 0, 1).status(), Status::kMissingInput);
  CHECK_EQ(host.run(4, 0, 0, 1).status(), Status::kBadObject);
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 1, {}, view(pattern(63))).status(), Status::kBadRange);
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 101, {}, view(pattern(64))).status(), Status::kTooLarge);
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 0, {}, view(pattern(64))).status(), Status::kBadRequest);
  CHECK_EQ(host.ask(kind::kRun, Payload().u16(0).u8(0).u8(3).u16(0).u16(1).u8(0)).status(), Status::kBadRequest);
  host.engine.failing = true;
  const Received failed = host.run(0, Run::kInlineInputs, 0, 1, {}, view(pattern(64)));
  CHECK_EQ(failed.status(), Status::kEngineFailed);
  CHECK_EQ(failed.text(), "the arena is on fire");
  CHECK_EQ(host.open_read(Object::kOutput).status(), Status::kBadObject);
}

TEST(a_write_that_cannot_be_is_refused_with_its_reason) {
  Host host;
  host.hello();
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(pattern(64))), Status::kNoModel);
  CHECK_EQ(host.write(Object::kModel, 2, 0, view(pattern(64))), Status::kBadObject);
  CHECK_EQ(host.write(Object::kModel, 0x100, 0, view(pattern(64))), Status::kBadObject);
  CHECK_EQ(host.write(Object::kModel, 0, 0, {}), Status::kBadRange);
  CHECK_EQ(host.write(Object::kModel, 0, 0, view(ByteVector(NullStorage::kCapacity + 1))), Status::kTooLarge);
  host.load_model();
  CHECK_EQ(host.write(Object::kInput, 1, 0, view(pattern(64))), Status::kBadObject);
  CHECK_EQ(host.write(Object::kInput, 0, 4, view(pattern(64))), Status::kBadObject);
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(pattern(65))), Status::kBadRange);
  CHECK_EQ(host.write(Object::kOutput, 0, 0, view(pattern(16))), Status::kBadObject);
}

TEST(a_model_that_is_refused_leaves_none_loaded) {
  Host host;
  host.load_model();
  host.model = ByteVector{'B', 'A', 'D', '!'};
  CHECK_EQ(host.write(Object::kModel, 0, 0, view(host.model)), Status::kOk);
  const Received refused = host.ask(kind::kLoad, Payload().u8(0).u8(1).u16(0));
  CHECK_EQ(refused.status(), Status::kUnsupportedOperator);
  CHECK_EQ(refused.text(), "Frobnicate is not registered");
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 1, {}, view(pattern(64))).status(), Status::kNoModel);
  CHECK(!host.engine.loaded);
  CHECK_EQ(host.ask(kind::kLoad, Payload().u8(3).u8(1).u16(0)).status(), Status::kNoModel);
}

TEST(a_model_whose_tensors_do_not_fit_is_too_large) {
  Host host;
  host.engine.shape.inputs = {5000};
  host.hello();
  CHECK_EQ(host.write(Object::kModel, 1, 0, view(host.model)), Status::kOk);
  CHECK_EQ(host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).status(), Status::kTooLarge);
  CHECK(!host.engine.loaded);
}

TEST(writing_over_the_loaded_model_unloads_it) {
  Host host;
  host.load_model();
  CHECK(host.engine.loaded);
  const std::uint16_t other = host.open_write(Object::kModel, 0, 0, view(pattern(50)));
  CHECK_EQ(host.answer(other).status(), Status::kOk);
  CHECK(host.engine.loaded);
  const std::uint16_t same = host.open_write(Object::kModel, 1, 0, view(host.model));
  CHECK_EQ(host.answer(same).body().u32(), 1000u);  // it holds these bytes already
  CHECK(host.engine.loaded);
  (void)host.open_write(Object::kModel, 1, 0, view(pattern(50)));
  CHECK(!host.engine.loaded);
}

TEST(parts_of_objects_can_be_read) {
  Host host;
  host.load_model();
  const ByteVector input = pattern(64);
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(input)), Status::kOk);
  Body body = host.open_read(Object::kInput, 0, 0, 10, 20).body();
  CHECK_EQ(body.u32(), 20u);
  CHECK_EQ(body.u32(), crc32(view(input).part(10, 20)));
  CHECK_EQ(host.open_read(Object::kInput, 0, 0, 10, 55).status(), Status::kBadRange);
  CHECK_EQ(host.open_read(Object::kInput, 0, 0, 65, 0).status(), Status::kBadRange);
  CHECK_EQ(host.open_read(Object::kInput, 0, 0, 64, 0).status(), Status::kOk);
}

TEST(at_most_four_transfers_are_open) {
  Host host;
  host.load_model();
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(pattern(64))), Status::kOk);
  for (int i = 0; i < 4; ++i) CHECK_EQ(host.open_read(Object::kInput).status(), Status::kOk);
  CHECK_EQ(host.open_read(Object::kInput).status(), Status::kBusy);
  CHECK_EQ(host.answer(host.open_write(Object::kModel, 0, 0, view(pattern(64)))).status(), Status::kBusy);
}

TEST(info_and_counters_describe_themselves) {
  Host host;
  host.load_model();
  const ByteVector info = host.read(Object::kInfo);
  for (const char* const word : {"esp32p4", "null", "partition", "esp32s3", "heap_free", "arena_used",
                                 "link_frames_received", "max_repeats", "exponent", "sha256"}) {
    CHECK(holds(info, word) || word == std::string("partition"));
  }
  CHECK(holds(info, "ram"));
  // id, value: the board's counter comes after the link's 14, the engine's last
  const std::string counters = to_hex(view(host.read(Object::kCounters)));
  CHECK(counters.find("820e1904d2") != std::string::npos);
  CHECK(counters.find("820f1910e1") != std::string::npos);
}

TEST(reading_info_again_replaces_the_former_reading) {
  Host host;
  host.load_model();
  for (int i = 0; i < 6; ++i) CHECK_EQ(host.open_read(Object::kInfo).status(), Status::kOk);
}

TEST(the_sha256_of_the_model_is_in_info) {
  Host host;
  host.load_model();
  Sha256 sha;
  sha.update(view(host.model));
  const Sha256::Digest digest = sha.finish();
  CHECK(holds(host.read(Object::kInfo), to_hex(Bytes(digest.data(), digest.size()))));
}

TEST(a_ping_that_no_answer_can_hold_is_too_large) {
  Host host;
  host.hello();
  CHECK_EQ(host.ask(kind::kPing, view(pattern(NullMemory::kAnswerBytes - 1))).status(), Status::kOk);
  CHECK_EQ(host.ask(kind::kPing, view(pattern(NullMemory::kAnswerBytes))).status(), Status::kTooLarge);
}

TEST(slots_do_not_share_memory) {
  Host host;
  host.engine.shape.outputs = {64};
  host.load_model();
  for (std::uint16_t slot = 0; slot < 4; ++slot) {
    CHECK_EQ(host.run(slot, Run::kInlineInputs, 0, 1, {}, view(pattern(64, slot))).status(), Status::kOk);
  }
  for (std::uint16_t slot = 0; slot < 4; ++slot) {
    CHECK(host.read(Object::kInput, 0, slot) == pattern(64, slot));
    CHECK(host.read(Object::kOutput, 0, slot) == expected_output(pattern(64, slot), 64));
  }
}

TEST(what_just_fits_is_taken) {
  Host host;
  host.engine.shape.outputs = {NullMemory::kAnswerBytes - RunAnswer::kFixedBytes};
  host.load_model();
  const ByteVector input = pattern(64);
  const Received answer = host.run(0, Run::kInlineInputs | Run::kInlineOutputs, 0, 100, {}, view(input));
  CHECK_EQ(answer.payload.size(), NullMemory::kAnswerBytes);
  const ByteVector name(Order::Name::capacity(), 'x');
  CHECK_EQ(host.run(0, Run::kCapture, 0, 1, as_text(view(name))).text(), std::string(name.size() - 1, 'x'));
  CHECK_EQ(host.ask(kind::kRun, Payload().u16(0).u8(0).u8(2).u16(0).u16(1).u8(0)).status(), Status::kOk);
  CHECK_EQ(host.ask(kind::kLoad, Payload().u8(1).u8(2).u16(0).bytes(view(name))).status(), Status::kOk);
  CHECK_EQ(host.ask(kind::kLoad, Payload().u8(1).u8(2).u16(0).bytes(view(name)).u8('x')).status(), Status::kTooLarge);
}

TEST(an_acknowledgement_of_another_status_ends_a_read) {
  Host host;
  host.load_model();
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(pattern(64))), Status::kOk);
  const std::uint16_t id = host.next_seq;
  CHECK_EQ(host.open_read(Object::kInput).status(), Status::kOk);
  host.ack(id, Status::kOk, 10);
  CHECK_EQ(host.ask(kind::kCancel, Payload().u16(id)).status(), Status::kOk);
  const std::uint16_t other = host.next_seq;
  CHECK_EQ(host.open_read(Object::kInput).status(), Status::kOk);
  host.ack(other, Status::kBadTransfer, 10);
  CHECK_EQ(host.ask(kind::kCancel, Payload().u16(other)).status(), Status::kBadTransfer);
}

TEST(a_lost_chunk_of_a_read_is_sent_again) {
  Host host;
  host.engine.shape.inputs = {900};
  host.load_model();
  const ByteVector input = pattern(900);
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(input)), Status::kOk);
  const std::uint16_t id = host.next_seq;
  CHECK_EQ(host.open_read(Object::kInput).status(), Status::kOk);
  const std::size_t chunk = Host::kMaxPayload - kDataHeaderBytes;
  host.received.clear();
  host.ack(id, Status::kOk, 0, 65536, {{static_cast<std::uint32_t>(chunk), 900}});
  const ByteVector again = host.assembled(id);
  CHECK(again == ByteVector(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(chunk)));
  host.received.clear();
  host.ack(id, Status::kGap, 0);
  CHECK(host.assembled(id) == again);
}

TEST(inline_inputs_do_not_meet_a_transfer_of_the_same_slot) {
  Host host;
  host.load_model();
  const ByteVector input = pattern(64);
  const std::uint16_t writing = host.open_write(Object::kInput, 0, 1, view(input));
  CHECK_EQ(host.run(1, Run::kInlineInputs, 0, 1, {}, view(input)).status(), Status::kBusy);
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 1, {}, view(input)).status(), Status::kOk);
  CHECK_EQ(host.open_read(Object::kInput, 0, 1).status(), Status::kBusy);
  CHECK_EQ(host.ask(kind::kCancel, Payload().u16(writing)).status(), Status::kOk);
  CHECK_EQ(host.run(1, 0, 0, 1).status(), Status::kMissingInput);
  CHECK_EQ(host.open_read(Object::kInput, 0, 0).status(), Status::kOk);
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(input)), Status::kBusy);
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 1, {}, view(input)).status(), Status::kBusy);
  CHECK_EQ(host.run(0, 0, 0, 1).status(), Status::kOk);
  CHECK_EQ(host.run(1, Run::kInlineInputs, 0, 1, {}, view(input)).status(), Status::kOk);
}

TEST(what_was_sent_and_sent_again_is_counted) {
  Host host;
  host.load_model();
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(pattern(64))), Status::kOk);
  const std::uint16_t id = host.next_seq;
  CHECK_EQ(host.open_read(Object::kInput).status(), Status::kOk);
  host.ack(id, Status::kGap, 0);
  host.ack(id, Status::kOk, 64);
  const std::string counters = to_hex(view(host.read(Object::kCounters)));
  CHECK(counters.find("820a1840820b1840") != std::string::npos);  // ids 10 and 11: sent, sent again
}
