// Long work (loading, running) that may go on in another thread while the server keeps answering.
#pragma once

#include <atomic>

namespace hil {

class Job {
 public:
  // What an executor calls, once per submission. The job must not be touched after it returned.
  void run() {
    execute();
    finished_.store(true, std::memory_order_release);
  }
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  void rearm() { finished_.store(false, std::memory_order_relaxed); }

 protected:
  ~Job() = default;
  virtual void execute() = 0;

 private:
  std::atomic<bool> finished_{false};
};

class Executor {
 public:
  // Runs job.run() at once or later, in any thread. The server submits one job at a time.
  virtual void submit(Job& job) = 0;

 protected:
  ~Executor() = default;
};

class InlineExecutor final : public Executor {
 public:
  void submit(Job& job) override { job.run(); }
};

}  // namespace hil
