// What is being used is not changed underneath: each request beside each thing that goes on. docs/PROTOCOL.md, section 3.
#include <functional>

#include "check.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

constexpr std::uint16_t kLoaded = 1;  // the location of the loaded model
constexpr std::uint16_t kOther = 0;
constexpr std::uint32_t kRecordBytes = 64;

// A board with a model whose slots 0 and 1 have inputs and outputs, with every object made and a golden set open.
struct Bench {
  DeferredExecutor executor;
  Host host{executor};
  ByteVector input = pattern(kRecordBytes);
  ByteVector golden = pattern(4 * kRecordBytes, 5);

  Bench() {
    host.hello();
    CHECK_EQ(host.write(Object::kModel, kLoaded, 0, view(host.model)), Status::kOk);
    CHECK_EQ(done(kind::kLoad, Payload().u8(kLoaded).u8(1).u16(0)), Status::kOk);
    CHECK_EQ(done(kind::kGolden, golden_set(golden)), Status::kOk);
    CHECK_EQ(host.write(Object::kGolden, 0, 0, view(golden)), Status::kOk);
    CHECK_EQ(done(kind::kGolden, golden_set(golden)), Status::kOk);
    for (const std::uint16_t slot : {std::uint16_t{0}, std::uint16_t{1}}) {
      const std::uint8_t all = Run::kInlineInputs | Run::kCapture | Run::kProfile;
      CHECK_EQ(done(kind::kRun, Host::run_payload(slot, all, 0, 1, "in", view(input))), Status::kOk);
    }
    host.clear();
  }

  static Payload golden_set(const ByteVector& set) {
    Sha256 sha;
    sha.update(view(set));
    const Sha256::Digest name = sha.finish();
    return Payload()
        .u32(static_cast<std::uint32_t>(set.size()) / kRecordBytes)
        .u32(kRecordBytes)
        .bytes(Bytes(name.data(), name.size()));
  }
  static Payload opening(Object object, std::uint16_t index, std::uint16_t slot, std::uint32_t length) {
    return Payload().u8(static_cast<std::uint8_t>(object)).u16(index).u16(slot).u32(length).u32(0);
  }
  static Payload reading(Object object, std::uint16_t slot = 0) {
    return Payload().u8(static_cast<std::uint8_t>(object)).u16(0).u16(slot).u32(0).u32(kWholeObject);
  }
  // Asks, lets the engine work until nothing waits, and returns the answer's status.
  Status done(std::uint8_t kind, Bytes payload) {
    const std::uint16_t seq = host.next_seq;
    host.send(kind, payload);
    drain();
    return host.answer(seq).status();
  }
  void drain() {
    while (executor.waiting()) {
      executor.run();
      host.poll();
    }
  }
  // The first half of an input; the write stays open.
  void half_write(std::uint16_t slot) {
    const std::uint16_t id = host.open_write(Object::kInput, 0, slot, view(input));
    host.data(id, 0, view(input).first(kRecordBytes / 2));
  }
};

struct State {
  const char* name;
  std::function<void(Bench&)> enter;
};

struct Request {
  const char* name;
  std::function<Status(Bench&)> ask;
};

Status run(Bench& bench, std::uint16_t slot, std::uint8_t flags, std::string_view name = {}) {
  Payload payload = Host::run_payload(slot, flags, 0, 1, name);
  if (flags & Run::kGolden) payload.u32(2);
  if (flags & Run::kInlineInputs) payload.bytes(view(bench.input));
  return bench.done(kind::kRun, payload);
}

const std::vector<State>& states() {
  static const std::vector<State> all = {
      {"nothing goes on", [](Bench&) {}},
      {"an input of slot 0 is half written", [](Bench& bench) { bench.half_write(0); }},
      {"an input of slot 0 was half written and given up",
       [](Bench& bench) {
         const std::uint16_t id = bench.host.next_seq;
         bench.half_write(0);
         CHECK_EQ(bench.host.ask(kind::kCancel, Payload().u16(id)).status(), Status::kOk);
       }},
      {"the input of slot 0 is being read",
       [](Bench& bench) { CHECK_EQ(bench.host.open_read(Object::kInput).status(), Status::kOk); }},
      {"the output of slot 0 is being read",
       [](Bench& bench) { CHECK_EQ(bench.host.open_read(Object::kOutput).status(), Status::kOk); }},
      {"TENSOR is being read",
       [](Bench& bench) { CHECK_EQ(bench.host.open_read(Object::kTensor).status(), Status::kOk); }},
      {"PROFILE is being read",
       [](Bench& bench) { CHECK_EQ(bench.host.open_read(Object::kProfile).status(), Status::kOk); }},
      {"CYCLES is being read",
       [](Bench& bench) { CHECK_EQ(bench.host.open_read(Object::kCycles).status(), Status::kOk); }},
      {"INFO is being read",
       [](Bench& bench) { CHECK_EQ(bench.host.open_read(Object::kInfo).status(), Status::kOk); }},
      {"the loaded model is being overwritten",
       [](Bench& bench) {
         (void)bench.host.open_write(Object::kModel, kLoaded, 0, view(pattern(500)));
         CHECK(!bench.host.engine.loaded);
       }},
      {"another location's model is being written",
       [](Bench& bench) {
         (void)bench.host.open_write(Object::kModel, kOther, 0, view(pattern(500)));
         CHECK(bench.host.engine.loaded);
       }},
      {"a golden set is being written",
       [](Bench& bench) {
         const ByteVector other = pattern(4 * kRecordBytes, 6);
         CHECK_EQ(bench.done(kind::kGolden, Bench::golden_set(other)), Status::kOk);
         (void)bench.host.open_write(Object::kGolden, 0, 0, view(other));
       }},
      {"a run of slot 0 goes on",
       [](Bench& bench) {
         bench.host.send(kind::kRun, Host::run_payload(0, Run::kInlineInputs, 0, 1, {}, view(bench.input)));
       }},
      {"a run of slot 0 that captures and profiles waits behind one of slot 1",
       [](Bench& bench) {
         bench.host.send(kind::kRun, Host::run_payload(1, Run::kInlineInputs, 0, 1, {}, view(bench.input)));
         const std::uint8_t flags = Run::kInlineInputs | Run::kCapture | Run::kProfile;
         bench.host.send(kind::kRun, Host::run_payload(0, flags, 0, 1, "in", view(bench.input)));
       }},
      {"four transfers are open",
       [](Bench& bench) {
         for (const Object object : {Object::kInput, Object::kOutput}) {
           CHECK_EQ(bench.host.open_read(object, 0, 1).status(), Status::kOk);
         }
         for (const Object object : {Object::kInfo, Object::kCounters}) {
           CHECK_EQ(bench.host.open_read(object).status(), Status::kOk);
         }
       }},
  };
  return all;
}

const std::vector<Request>& requests() {
  static const std::vector<Request> all = {
      {"OPEN_WRITE the input of slot 0",
       [](Bench& bench) { return bench.done(kind::kOpenWrite, Bench::opening(Object::kInput, 0, 0, kRecordBytes)); }},
      {"OPEN_WRITE the input of slot 1",
       [](Bench& bench) { return bench.done(kind::kOpenWrite, Bench::opening(Object::kInput, 0, 1, kRecordBytes)); }},
      {"OPEN_WRITE the loaded model",
       [](Bench& bench) { return bench.done(kind::kOpenWrite, Bench::opening(Object::kModel, kLoaded, 0, 900)); }},
      {"OPEN_WRITE another location's model",
       [](Bench& bench) { return bench.done(kind::kOpenWrite, Bench::opening(Object::kModel, kOther, 0, 900)); }},
      {"OPEN_READ the input of slot 0",
       [](Bench& bench) { return bench.done(kind::kOpenRead, Bench::reading(Object::kInput)); }},
      {"OPEN_READ the output of slot 0",
       [](Bench& bench) { return bench.done(kind::kOpenRead, Bench::reading(Object::kOutput)); }},
      {"OPEN_READ TENSOR", [](Bench& bench) { return bench.done(kind::kOpenRead, Bench::reading(Object::kTensor)); }},
      {"OPEN_READ PROFILE", [](Bench& bench) { return bench.done(kind::kOpenRead, Bench::reading(Object::kProfile)); }},
      {"OPEN_READ CYCLES", [](Bench& bench) { return bench.done(kind::kOpenRead, Bench::reading(Object::kCycles)); }},
      {"OPEN_READ INFO", [](Bench& bench) { return bench.done(kind::kOpenRead, Bench::reading(Object::kInfo)); }},
      {"LOAD the loaded location",
       [](Bench& bench) { return bench.done(kind::kLoad, Payload().u8(kLoaded).u8(1).u16(0)); }},
      {"RUN slot 0 as it is", [](Bench& bench) { return run(bench, 0, 0); }},
      {"RUN slot 0 with inline inputs", [](Bench& bench) { return run(bench, 0, Run::kInlineInputs); }},
      {"RUN slot 0 with a golden record", [](Bench& bench) { return run(bench, 0, Run::kGolden); }},
      {"RUN slot 1 with inline inputs", [](Bench& bench) { return run(bench, 1, Run::kInlineInputs); }},
      {"RUN slot 1 with capture", [](Bench& bench) { return run(bench, 1, Run::kInlineInputs | Run::kCapture, "in"); }},
      {"RUN slot 1 with profile", [](Bench& bench) { return run(bench, 1, Run::kInlineInputs | Run::kProfile); }},
      {"GOLDEN", [](Bench& bench) { return bench.done(kind::kGolden, Bench::golden_set(bench.golden)); }},
      {"PING", [](Bench& bench) { return bench.done(kind::kPing, {}); }},
  };
  return all;
}

char letter(Status status) {
  switch (status) {
    case Status::kOk:
      return '.';
    case Status::kBusy:
      return 'B';
    case Status::kMissingInput:
      return 'M';
    case Status::kNoModel:
      return 'N';
    case Status::kBadObject:
      return 'O';
    default:
      return '?';
  }
}

}  // namespace

// A row a state, a column a request, in the orders above; . ok, B busy, M missing_input, N no_model, O bad_object: it is gone.
TEST(each_request_beside_each_open_transfer_has_the_status_that_keeps_what_is_in_use) {
  const std::vector<std::string> expected = {
      //   write     read        load
      //   in model  in out      run0  run1 golden ping
      "...................",  // nothing goes on
      "..B.B.....BMBB.....",  // an input of slot 0 is half written: nobody reads or runs it
      "...........M.......",  // ... and given up: half of it is another input's
      "B.B.......B.BB.....",  // the input of slot 0 is being read
      "..B.......BBBB.....",  // the output of slot 0 is being read
      "..........B....B...",  // TENSOR: a model that is loaded may need its memory
      "................B..",  // PROFILE
      "...........BBBBBB..",  // CYCLES: every run makes them anew
      "...................",  // INFO
      "NN..NNO...BNNNNNN..",  // the loaded model is being overwritten: it is not loaded any more
      "......O............",  // another location's model is being written: it may need the captured tensor's memory
      ".............M...B.",  // a golden set is being written
      "B.BB.B..B.BBBB...B.",  // a run of slot 0 goes on
      "BBBB.BBBB.BBBBBBBB.",  // one that captures and profiles waits behind one of slot 1
      "BBBBBBBBB.B...BBB..",  // four transfers are open
  };
  CHECK_EQ(states().size(), expected.size());
  for (std::size_t i = 0; i < states().size(); ++i) {
    std::string row;
    for (const Request& request : requests()) {
      Bench bench;
      states()[i].enter(bench);
      row += letter(request.ask(bench));
    }
    CHECK_EQ(std::string(states()[i].name) + ": " + row, std::string(states()[i].name) + ": " + expected[i]);
  }
}

TEST(an_input_that_was_half_rewritten_is_missing_until_it_is_whole) {
  Bench bench;
  bench.half_write(0);
  CHECK_EQ(run(bench, 0, 0), Status::kMissingInput);
  const std::uint16_t id = bench.host.open_write(Object::kInput, 0, 0, view(bench.input));
  bench.host.data(id, 0, view(bench.input));
  CHECK_EQ(run(bench, 0, 0), Status::kOk);
}

TEST(a_write_that_the_storage_refused_leaves_no_model_of_which_nobody_knows_what_is_left) {
  Bench bench;
  bench.host.storage.begin_fails = true;
  CHECK_EQ(bench.done(kind::kOpenWrite, Bench::opening(Object::kModel, kLoaded, 0, 900)), Status::kStorageFailed);
  CHECK(!bench.host.engine.loaded);
  CHECK_EQ(run(bench, 0, 0), Status::kNoModel);
}

TEST(a_write_that_cannot_fit_or_is_elsewhere_leaves_the_loaded_model) {
  Bench bench;
  CHECK_EQ(bench.done(kind::kOpenWrite, Bench::opening(Object::kModel, kLoaded, 0, 70'000)), Status::kTooLarge);
  CHECK_EQ(run(bench, 0, 0), Status::kOk);
  bench.host.storage.begin_fails = true;
  CHECK_EQ(bench.done(kind::kOpenWrite, Bench::opening(Object::kModel, kOther, 0, 900)), Status::kStorageFailed);
  CHECK(bench.host.engine.loaded);
  CHECK_EQ(run(bench, 0, 0), Status::kOk);
}

TEST(the_image_that_is_loaded_and_held_need_not_be_loaded_again) {
  Bench bench;
  const std::uint16_t id = bench.host.open_write(Object::kModel, kLoaded, 0, view(bench.host.model));
  CHECK_EQ(bench.host.answer(id).body().u32(), static_cast<std::uint32_t>(bench.host.model.size()));
  CHECK_EQ(run(bench, 0, 0), Status::kOk);
}

TEST(a_golden_run_leaves_an_input_alone_that_is_being_read) {
  Bench bench;
  const std::uint16_t id = bench.host.next_seq;
  CHECK_EQ(bench.host.open_read(Object::kInput).status(), Status::kOk);
  CHECK_EQ(run(bench, 0, Run::kGolden), Status::kBusy);
  CHECK(bench.host.assembled(id) == bench.input);
  bench.host.ack(id, Status::kOk, kRecordBytes);
  CHECK_EQ(run(bench, 0, Run::kGolden), Status::kOk);
}

TEST(the_last_eight_finished_writes_are_remembered_and_no_ninth) {
  Host host;
  host.load_model();
  std::vector<std::uint16_t> ids;
  const ByteVector input = pattern(64);
  for (int i = 0; i < 9; ++i) {
    ids.push_back(host.open_write(Object::kInput, 0, 0, view(input)));
    host.data(ids.back(), 0, view(input));
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    host.clear();
    host.data(ids[i], 0, view(input));
    CHECK_EQ(host.last_ack()->status, i == 0 ? Status::kBadTransfer : Status::kOk);
  }
}
