// Sessions, order and repetition. docs/PROTOCOL.md, section 2.
#include "check.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

TEST(boot_is_announced_once_in_session_0) {
  Host host;
  host.server.boot();
  host.take();
  host.take();
  CHECK_EQ(host.received.size(), std::size_t{1});
  CHECK_EQ(host.received[0].kind, kind::kBoot);
  CHECK_EQ(host.received[0].session, std::uint8_t{0});
  CHECK_EQ(host.received[0].payload, (ByteVector{0xFE, 0xCA, 0, 0, 1}));
  // and no pad behind it: nobody has asked for one
  CHECK_EQ(host.sent_bytes, encode(kind::kBoot, 0, 0, view(host.received[0].payload)).size());
}

TEST(hello_tells_what_the_host_must_know) {
  Host host;
  const Received answer = host.hello();
  Body body = answer.body();
  CHECK_EQ(answer.status(), Status::kOk);
  CHECK_EQ(body.u8(), std::uint8_t{1});
  CHECK_EQ(body.u32(), 0xCAFEu);
  CHECK_EQ(body.u16(), Host::kMaxPayload);
  CHECK_EQ(body.u32(), Host::kWindow);
  CHECK_EQ(body.u8(), std::uint8_t{0});  // slots: no model yet
  CHECK_EQ(body.u8(), std::uint8_t{8});
  CHECK_EQ(body.u8(), std::uint8_t{4 | 8 | 16});  // the line, golden sets, packed data
  CHECK(body.ok_and_empty());
}

TEST(a_request_without_its_session_is_answered_with_a_fault) {
  Host host;
  host.send(kind::kPing, 9, 5, Payload().text("x"));
  CHECK_EQ(host.all(kind::kFault).at(0).status(), Status::kNoSession);
  CHECK_EQ(host.all(kind::kFault).at(0).session, std::uint8_t{9});
  CHECK_EQ(host.all(kind::kFault).at(0).seq, std::uint16_t{5});
  host.hello();
  host.send(kind::kData, 6, 1, Payload().u16(1).u32(0));
  CHECK_EQ(host.all(kind::kFault).at(1).status(), Status::kNoSession);
}

TEST(versions_that_do_not_meet_are_refused) {
  Host host;
  host.send(kind::kHello, 7, 1, Payload().u8(2).u8(9).u32(1).u16(512));
  CHECK_EQ(host.answer(1).status(), Status::kBadVersion);
  host.send(kind::kHello, 7, 2, Payload().u8(1).u8(1).u32(1).u16(100));
  CHECK_EQ(host.answer(2).status(), Status::kBadRequest);
  host.send(kind::kHello, 0, 3, Payload().u8(1).u8(1).u32(1).u16(512));
  CHECK_EQ(host.answer(3).status(), Status::kBadRequest);
  host.send(kind::kPing, 7, 2, {});
  CHECK_EQ(host.all(kind::kFault).size(), std::size_t{1});
}

TEST(a_repeated_request_is_answered_again_and_not_executed) {
  Host host;
  host.load_model();
  const std::uint16_t seq = host.next_seq;
  const Payload run = Host::run_payload(0, Run::kInlineInputs | Run::kInlineOutputs, 0, 1, {}, view(pattern(64)));
  const ByteVector first = host.ask(kind::kRun, run).payload;
  const int invocations = host.engine.invocations;
  host.clear();
  host.send(kind::kRun, host.session, seq, run);
  CHECK(host.answer(seq).payload == first);
  CHECK_EQ(host.engine.invocations, invocations);
}

TEST(a_request_ahead_of_its_turn_is_not_executed) {
  Host host;
  host.hello();
  host.send(kind::kPing, host.session, 4, {});
  const Received fault = host.all(kind::kFault).at(0);
  CHECK_EQ(fault.status(), Status::kGap);
  CHECK_EQ(fault.body().u16(), std::uint16_t{2});
  CHECK_EQ(fault.seq, std::uint16_t{4});
  CHECK_EQ(host.ask(kind::kPing, Payload().text("now")).text(), "now");
}

TEST(numbers_run_over_their_end) {
  Host host;
  host.hello(7, 0xFFFE);
  for (int i = 0; i < 40; ++i) CHECK_EQ(host.ask(kind::kPing, Payload().text("round")).text(), "round");
  CHECK_EQ(host.next_seq, std::uint16_t{39});
}

TEST(a_repetition_of_more_than_16_requests_ago_is_a_gap) {
  Host host;
  host.hello();
  for (int i = 0; i < 20; ++i) (void)host.ask(kind::kPing, {});
  host.send(kind::kPing, host.session, 3, {});
  CHECK_EQ(host.all(kind::kFault).at(0).status(), Status::kGap);
}

TEST(a_repeated_hello_ends_nothing_and_a_new_one_ends_all) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  const std::uint16_t id = host.open_write(Object::kModel, 0, 0, view(image));
  host.send(kind::kHello, 7, 1, Payload().u8(1).u8(1).u32(1).u16(Host::kMaxPayload));
  CHECK_EQ(host.all(0xA0).size(), std::size_t{2});
  CHECK_EQ(host.storage.aborts, 0);
  host.send(kind::kHello, 7, 1, Payload().u8(1).u8(1).u32(2).u16(Host::kMaxPayload));
  CHECK_EQ(host.storage.aborts, 1);
  host.clear();
  host.data(id, 0, view(image));
  CHECK_EQ(host.last_ack()->status, Status::kBadTransfer);
}

TEST(unknown_kinds_are_named_so) {
  Host host;
  host.hello();
  CHECK_EQ(host.ask(0x8B, {}).status(), Status::kUnknownKind);
  CHECK_EQ(host.ask(0x8F, {}).status(), Status::kUnknownKind);
  host.send(0xA5, host.session, 0, {});
  CHECK_EQ(host.all(kind::kFault).at(0).status(), Status::kUnknownKind);
  CHECK_EQ(host.ask(kind::kPing, {}).status(), Status::kOk);
}

TEST(payloads_that_do_not_parse_are_bad_requests) {
  Host host;
  host.hello();
  for (std::uint8_t kind = kind::kOpenWrite; kind <= kind::kReset; ++kind) {
    CHECK_EQ(host.ask(kind, Payload().text("x")).status(), Status::kBadRequest);
  }
  host.send(kind::kData, host.session, 0, Payload().u8(1));
  host.send(kind::kAck, host.session, 0, Payload().u8(1));
  CHECK_EQ(host.all(kind::kFault).size(), std::size_t{2});
}

TEST(a_reset_happens_after_its_answer_was_given_away) {
  Host host;
  host.hello();
  const ByteVector frame = encode(kind::kReset, host.session, host.next_seq++, Payload().u8(1));
  host.server.receive(view(frame));
  host.server.poll();
  CHECK_EQ(host.board.resets, 0);
  host.take();
  CHECK_EQ(host.answer(2).status(), Status::kOk);
  host.server.poll();
  host.server.poll();
  CHECK_EQ(host.board.resets, 1);
  CHECK_EQ(host.board.last_mode, ResetMode::kRomLoader);
  CHECK(host.server.stopped());
  CHECK_EQ(host.ask(kind::kPing, {}).status(), Status::kStopping);
}

TEST(log_lines_travel_in_session_0_and_are_counted_when_they_do_not_fit) {
  Host host;
  host.server.log(3, "model loaded");
  host.server.log(1, std::string(500, 'x'));
  host.server.log(1, std::string(500, 'y'));
  host.take();
  CHECK_EQ(host.all(kind::kLog).size(), std::size_t{2});
  CHECK_EQ(host.all(kind::kLog)[0].payload.at(0), std::uint8_t{3});
  CHECK_EQ(host.all(kind::kLog)[0].text(), "model loaded");
  CHECK_EQ(host.all(kind::kLog)[1].payload.size(), std::size_t{201});
}

TEST(bytes_leave_through_a_line_of_any_width) {
  Host wide;
  Host narrow;
  ByteVector trickled;
  for (Host* const host : {&wide, &narrow}) host->hello();
  const ByteVector ping = encode(kind::kPing, 7, 2, Payload().text("any width"));
  wide.server.receive(view(ping));
  narrow.server.receive(view(ping));
  ByteVector at_once(1000);
  at_once.resize(wide.server.transmit(MutableBytes(at_once.data(), at_once.size())));
  std::uint8_t byte[1];
  while (narrow.server.transmit(MutableBytes(byte)) == 1) trickled.push_back(byte[0]);
  CHECK(trickled == at_once);
}

TEST(sizes_that_cannot_work_are_named) {
  Host host;
  const Parts parts{host.engine, host.board, host.storage, host.clock, host.inline_};
  NullMemory memory(512);
  CHECK(Server::problem(Config{512, 2048, 4}, memory.buffers(), parts) == nullptr);
  CHECK(Server::problem(Config{255, 2048, 4}, memory.buffers(), parts) != nullptr);
  CHECK(Server::problem(Config{513, 2048, 4}, memory.buffers(), parts) != nullptr);
  CHECK(Server::problem(Config{512, 100, 4}, memory.buffers(), parts) != nullptr);
  CHECK(Server::problem(Config{512, 2048, 17}, memory.buffers(), parts) != nullptr);
  Buffers buffers = memory.buffers();
  buffers.slots = buffers.slots.from(1);
  CHECK(Server::problem(Config{512, 2048, 4}, buffers, parts) != nullptr);
  buffers = memory.buffers();
  buffers.answers = buffers.answers.first(1000);
  CHECK(Server::problem(Config{512, 2048, 4}, buffers, parts) != nullptr);
}

TEST(answers_leave_in_the_order_of_their_requests) {
  Host host;
  host.hello();
  host.clear();
  ByteVector line;
  for (std::uint16_t seq = 2; seq <= 6; ++seq) {
    const ByteVector frame = encode(kind::kPing, 7, seq, Payload().u16(seq));
    line.insert(line.end(), frame.begin(), frame.end());
  }
  host.server.receive(view(line));
  host.take();
  CHECK_EQ(host.received.size(), std::size_t{5});
  for (std::size_t i = 0; i < host.received.size(); ++i) CHECK_EQ(host.received[i].seq, i + 2);
}

TEST(notices_leave_in_order_and_too_many_are_dropped) {
  Host host;
  ByteVector line;
  for (std::uint16_t seq = 1; seq <= 10; ++seq) {
    const ByteVector frame = encode(kind::kPing, 7, seq, {});
    line.insert(line.end(), frame.begin(), frame.end());
  }
  host.server.receive(view(line));
  host.take();
  CHECK_EQ(host.received.size(), std::size_t{8});
  for (std::size_t i = 0; i < host.received.size(); ++i) CHECK_EQ(host.received[i].seq, i + 1);
}

TEST(log_lines_fill_their_memory_to_the_last_byte) {
  std::uint8_t ring[20];
  std::uint8_t line[1 + LogQueue::kMaxText];
  LogQueue logs{MutableBytes(ring)};
  for (int round = 0; round < 5; ++round) {
    CHECK(logs.push(1, "12345678"));
    CHECK(logs.push(2, "12345678"));
    CHECK(!logs.push(3, ""));
    CHECK_EQ(logs.pop(MutableBytes(line)), std::size_t{9});
    CHECK(!logs.push(4, "123456789"));
    CHECK(logs.push(5, "abc"));
    CHECK_EQ(logs.pop(MutableBytes(line)), std::size_t{9});
    CHECK_EQ(line[0], std::uint8_t{2});
    CHECK_EQ(logs.pop(MutableBytes(line)), std::size_t{4});
    CHECK_EQ(as_text(Bytes(line, 4).from(1)), std::string_view("abc"));
    CHECK_EQ(logs.pop(MutableBytes(line)), std::size_t{0});
  }
}

TEST(the_smallest_and_largest_sizes_work) {
  Host host;
  const Parts parts{host.engine, host.board, host.storage, host.clock, host.inline_};
  NullMemory memory(256);
  memory.answers.resize(16 * 64);
  memory.info.resize(1024);
  memory.log.resize(202);
  CHECK(Server::problem(Config{256, 256, 16}, memory.buffers(), parts) == nullptr);
  memory.log.resize(201);
  CHECK(Server::problem(Config{256, 256, 16}, memory.buffers(), parts) != nullptr);
}

TEST(a_new_session_drops_what_was_not_sent_yet) {
  Host host;
  host.hello();
  host.clear();
  const ByteVector ping = encode(kind::kPing, 7, 2, Payload().text("late"));
  host.server.receive(view(ping));
  const Received answer = host.hello(8, 40, 2);
  CHECK_EQ(answer.status(), Status::kOk);
  CHECK_EQ(host.received.size(), std::size_t{1});
}
