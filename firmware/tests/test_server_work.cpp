// What goes on while the engine works: the executor finishes when the test says so.
#include "check.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

struct Setup {
  DeferredExecutor executor;
  Host host{executor};

  Setup() {
    host.hello();
    CHECK_EQ(host.write(Object::kModel, 1, 0, view(host.model)), Status::kOk);
    host.send(kind::kLoad, Payload().u8(1).u8(1).u16(0));
    finish();
    host.clear();
  }
  void finish() {
    executor.run();
    host.poll();
  }
  // Sends a RUN with inputs; returns its seq.
  std::uint16_t begin_run(std::uint16_t slot, std::uint8_t flags = Run::kInlineOutputs, std::string_view name = {}) {
    const std::uint16_t seq = host.next_seq;
    host.send(kind::kRun, Host::run_payload(slot, static_cast<std::uint8_t>(flags | Run::kInlineInputs), 0, 1, name,
                                            view(pattern(64, slot))));
    return seq;
  }
  bool answered(std::uint16_t seq) const {
    for (const Received& frame : host.all(kind::kRun + kind::kAnswer)) {
      if (frame.seq == seq) return true;
    }
    return false;
  }
};

}  // namespace

TEST(the_server_answers_while_the_engine_works) {
  Setup setup;
  const std::uint16_t run = setup.begin_run(0);
  CHECK(!setup.answered(run));
  CHECK(setup.host.server.busy());
  CHECK_EQ(setup.host.ask(kind::kPing, Payload().text("here")).text(), "here");
  CHECK_EQ(setup.host.write(Object::kInput, 0, 1, view(pattern(64))), Status::kOk);
  CHECK_EQ(setup.host.read(Object::kInfo).empty(), false);
  setup.finish();
  CHECK_EQ(setup.host.answer(run).status(), Status::kOk);
  CHECK(!setup.host.server.busy());
}

TEST(a_repeated_request_whose_work_goes_on_is_pending) {
  Setup setup;
  const std::uint16_t run = setup.begin_run(0);
  setup.host.send(kind::kRun, setup.host.session, run, {});
  CHECK_EQ(setup.host.answer(run).status(), Status::kPending);
  setup.finish();
  CHECK_EQ(setup.host.answer(run).status(), Status::kOk);
  CHECK_EQ(setup.host.engine.invocations, 1);
}

TEST(runs_wait_for_each_other_in_order) {
  Setup setup;
  const std::uint16_t first = setup.begin_run(0);
  const std::uint16_t second = setup.begin_run(1);
  const std::uint16_t third = setup.begin_run(2);
  setup.finish();
  CHECK(setup.answered(first) && !setup.answered(second));
  setup.finish();
  CHECK(setup.answered(second) && !setup.answered(third));
  setup.finish();
  CHECK(setup.answered(third));
  CHECK(!setup.executor.waiting());
}

TEST(what_a_waiting_run_uses_is_busy) {
  Setup setup;
  Host& host = setup.host;
  (void)setup.begin_run(0, Run::kCapture, "in");
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(pattern(64))), Status::kBusy);
  CHECK_EQ(host.open_read(Object::kOutput, 0, 0).status(), Status::kBusy);
  CHECK_EQ(host.open_read(Object::kCycles).status(), Status::kBusy);
  CHECK_EQ(host.open_read(Object::kTensor).status(), Status::kBusy);
  CHECK_EQ(host.open_read(Object::kProfile).status(), Status::kBadObject);
  CHECK_EQ(host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).status(), Status::kBusy);
  CHECK_EQ(host.write(Object::kModel, 0, 0, view(host.model)), Status::kBusy);
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 1, {}, view(pattern(64))).status(), Status::kBusy);
  setup.finish();
  CHECK_EQ(host.read(Object::kTensor).size(), std::size_t{64});
}

TEST(what_is_being_read_is_not_overwritten_by_a_run) {
  Setup setup;
  Host& host = setup.host;
  const std::uint16_t run = setup.begin_run(0);
  setup.finish();
  CHECK(setup.answered(run));
  const std::uint16_t transfer = host.next_seq;
  CHECK_EQ(host.open_read(Object::kOutput, 0, 0).status(), Status::kOk);
  const std::uint16_t refused = setup.begin_run(0);
  CHECK_EQ(host.answer(refused).status(), Status::kBusy);
  const std::uint16_t other = setup.begin_run(1);
  setup.finish();
  CHECK_EQ(host.answer(other).status(), Status::kOk);
  host.ack(transfer, Status::kOk, 16);
  const std::uint16_t now = setup.begin_run(0);
  setup.finish();
  CHECK_EQ(host.answer(now).status(), Status::kOk);
}

TEST(the_queue_takes_no_more_than_it_says) {
  Setup setup;
  Host& host = setup.host;
  host.engine.shape = NullEngine::Shape{{4}, {4}};
  // reload with tensors so small that 4 slots exist; each holds one waiting run, so the slots are used up before the
  // queue
  host.send(kind::kLoad, Payload().u8(1).u8(1).u16(0));
  setup.finish();
  for (std::uint16_t slot = 0; slot < 4; ++slot) {
    host.send(kind::kRun, Host::run_payload(slot, Run::kInlineInputs, 0, 1, {}, view(pattern(4))));
  }
  CHECK_EQ(host.run(0, Run::kInlineInputs, 0, 1, {}, view(pattern(4))).status(), Status::kBusy);
  for (int i = 0; i < 4; ++i) setup.finish();
  CHECK_EQ(host.engine.invocations, 4);
}

TEST(a_host_may_not_run_further_ahead_than_the_device_remembers) {
  Setup setup;
  Host& host = setup.host;
  const std::uint16_t run = setup.begin_run(0);
  for (int i = 0; i < 15; ++i) CHECK_EQ(host.ask(kind::kPing, {}).status(), Status::kOk);
  host.clear();
  host.send(kind::kPing, host.session, static_cast<std::uint16_t>(run + 16), {});
  CHECK_EQ(host.all(kind::kFault).at(0).status(), Status::kBusy);
  setup.finish();
  CHECK_EQ(host.answer(run).status(), Status::kOk);
  host.send(kind::kPing, host.session, static_cast<std::uint16_t>(run + 16), {});
  CHECK_EQ(host.answer(static_cast<std::uint16_t>(run + 16)).status(), Status::kOk);
}

TEST(a_new_session_forgets_waiting_runs_and_lets_the_one_in_progress_end) {
  Setup setup;
  Host& host = setup.host;
  (void)setup.begin_run(0);
  (void)setup.begin_run(1);
  Body hello = host.hello(8, 50, 9).body();
  hello.skip(1 + 4 + 2 + 4 + 1 + 1);
  CHECK_EQ(hello.u8() & 3, 3);  // a model is loaded, a run is going on
  CHECK_EQ(host.answer(setup.begin_run(0)).status(), Status::kBusy);
  const std::uint16_t fresh = setup.begin_run(1);
  host.clear();
  setup.finish();
  CHECK_EQ(host.all(kind::kRun + kind::kAnswer).size(), std::size_t{0});
  setup.finish();
  CHECK_EQ(host.answer(fresh).status(), Status::kOk);
  CHECK_EQ(host.engine.invocations, 2);
}

TEST(a_load_that_a_new_session_interrupted_still_counts) {
  DeferredExecutor executor;
  Host host(executor);
  host.hello();
  CHECK_EQ(host.write(Object::kModel, 1, 0, view(host.model)), Status::kOk);
  host.send(kind::kLoad, Payload().u8(1).u8(1).u16(0));
  host.hello(8, 50, 9);
  host.clear();
  executor.run();
  host.poll();
  CHECK(host.received.empty());
  Body hello = host.hello(9, 90, 10).body();
  hello.skip(1 + 4 + 2 + 4);
  CHECK_EQ(hello.u8(), std::uint8_t{4});
}
