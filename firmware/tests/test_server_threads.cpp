// The engine in a thread of its own, as on a chip with two cores; also built with ThreadSanitizer
// (HIL_SANITIZE=thread).
#include <condition_variable>
#include <mutex>
#include <thread>

#include "check.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

class ThreadExecutor final : public Executor {
 public:
  ThreadExecutor() : thread_([this] { work(); }) {}
  ~ThreadExecutor() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  void submit(Job& job) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
    }
    changed_.notify_one();
  }

 private:
  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return job_ != nullptr || stopping_; });
      if (job_ == nullptr) return;
      Job* const job = job_;
      job_ = nullptr;
      lock.unlock();
      job->run();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Job* job_ = nullptr;
  bool stopping_ = false;
  std::thread thread_;
};

void wait(Host& host) {
  while (host.server.busy()) {
    std::this_thread::yield();
    host.poll();
  }
}

}  // namespace

TEST(uploads_reads_and_runs_go_on_side_by_side) {
  ThreadExecutor executor;
  Host host(executor);
  host.hello();
  CHECK_EQ(host.write(Object::kModel, 1, 0, view(host.model)), Status::kOk);
  const std::uint16_t load = host.next_seq;
  host.send(kind::kLoad, Payload().u8(1).u8(1).u16(0));
  wait(host);
  CHECK_EQ(host.answer(load).status(), Status::kOk);
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(pattern(64, 0))), Status::kOk);
  for (std::uint16_t round = 0; round < 200; ++round) {
    const std::uint16_t slot = round % 2;
    const std::uint16_t other = 1 - slot;
    const std::uint16_t run = host.next_seq;
    host.clear();
    host.send(kind::kRun, Host::run_payload(slot, Run::kInlineOutputs | Run::kCapture | Run::kProfile, 1, 3, "in"));
    CHECK_EQ(host.write(Object::kInput, 0, other, view(pattern(64, round + 1u))), Status::kOk);
    CHECK(!host.read(Object::kInfo).empty());
    CHECK(!host.read(Object::kCounters).empty());
    host.send(kind::kRun, host.session, run, {});
    wait(host);
    const Received answer = host.answer(run);
    CHECK_EQ(answer.status(), Status::kOk);
    CHECK_EQ(answer.payload.at(RunAnswer::kFixedBytes), static_cast<std::uint8_t>(pattern(64, round)[0] ^ 0x5A));
    CHECK(host.read(Object::kTensor) == pattern(64, round));
  }
}

TEST(a_new_session_in_the_middle_of_a_run_is_safe) {
  ThreadExecutor executor;
  Host host(executor);
  host.hello();
  CHECK_EQ(host.write(Object::kModel, 1, 0, view(host.model)), Status::kOk);
  host.send(kind::kLoad, Payload().u8(1).u8(1).u16(0));
  wait(host);
  for (std::uint16_t round = 0; round < 100; ++round) {
    host.send(kind::kRun, Host::run_payload(0, Run::kInlineInputs, 0, 50, {}, view(pattern(64))));
    host.hello(static_cast<std::uint8_t>(10 + round), static_cast<std::uint16_t>(round * 100), round);
    wait(host);
    host.clear();
    CHECK_EQ(host.ask(kind::kPing, Payload().text("on")).text(), "on");
  }
}
