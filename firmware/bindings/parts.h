// The other parts around the server on a PC: board and storage written in Python, a clock, a worker thread.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine.h"
#include "hil/board.h"
#include "hil/clock.h"
#include "hil/executor.h"
#include "hil/gate.h"
#include "hil/golden_store.h"
#include "hil/line_rate.h"
#include "hil/storage.h"

namespace hil::python {

class PythonBoard final : public Board {
 public:
  explicit PythonBoard(nb::handle board);

  const BoardIdentity& identity() const override { return identity_; }
  void reset(ResetMode mode) override;
  std::size_t counter_count() const override { return counters_.count(); }
  CounterSpec counter(std::size_t index) const override { return counters_.spec(index); }
  std::uint64_t counter_value(std::size_t index) const override;

 private:
  const std::string& text(nb::handle identity, const char* key);

  nb::handle board_;                                 // the server holds the reference
  std::vector<std::unique_ptr<std::string>> texts_;  // what the views of identity_ show
  BoardIdentity identity_;
  mutable SampledCounters counters_;
};

class PythonStorage final : public Storage {
 public:
  explicit PythonStorage(nb::handle storage);

  std::string_view location_name(std::uint8_t location) const override;
  Outcome begin(std::uint8_t location, std::uint32_t length, std::uint32_t crc, bool& held) override;
  Outcome write(std::uint8_t location, std::uint32_t offset, Bytes bytes) override;
  Outcome finish(std::uint8_t location) override;
  void abort(std::uint8_t location) override;
  Outcome open(std::uint8_t location, std::string_view path, std::uint32_t& length) override;
  Outcome read(std::uint8_t location, std::uint32_t offset, MutableBytes into) override;

 private:
  nb::handle storage_;  // the server holds the reference
  std::vector<std::string> names_;
};

// The rate of the line, kept by a Python object: `baud`, `possible(baud)`, `set_baud(baud)`, `now_ms()`.
class PythonRate final : public LineRate {
 public:
  explicit PythonRate(nb::handle line);

  std::uint32_t baud() const override { return baud_; }
  bool possible(std::uint32_t baud) const override;
  void set(std::uint32_t baud) override;
  std::uint32_t now_ms() const override;

 private:
  nb::handle line_;  // the server holds the reference
  std::uint32_t baud_;
};

// Memory for golden sets, kept by a Python object: `size_bytes`, `sector_bytes`, `erase`, `write`, `read`.
class PythonRegion final : public Region {
 public:
  explicit PythonRegion(nb::handle region);

  std::uint32_t size_bytes() const override { return size_bytes_; }
  std::uint32_t sector_bytes() const override { return sector_bytes_; }
  Outcome erase(std::uint32_t offset, std::uint32_t length) override;
  Outcome write(std::uint32_t offset, Bytes bytes) override;
  Outcome read(std::uint32_t offset, MutableBytes into) override;

 private:
  nb::handle region_;  // the server holds the reference
  std::uint32_t size_bytes_;
  std::uint32_t sector_bytes_;
};

// A pin, kept by a Python object: `choose(pin)`, which raises for one that cannot be the gate, and `set(high)`.
class PythonGate final : public Gate {
 public:
  explicit PythonGate(nb::handle gate) : gate_(gate) {}

  Outcome choose(std::uint8_t pin) override;
  void set(bool high) override;

 private:
  nb::handle gate_;  // the server holds the reference
};

class SteadyClock final : public Clock {
 public:
  explicit SteadyClock(std::uint32_t hz) : hz_(hz) {}

  std::uint64_t cycles() override {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    const std::uint64_t ns =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
    // seconds apart from the rest: their product with the frequency would overflow
    return ns / kNsPerSecond * hz_ + ns % kNsPerSecond * hz_ / kNsPerSecond;
  }
  std::uint32_t hz() const override { return hz_; }

 private:
  static constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

  std::uint32_t hz_;
};

class ThreadExecutor final : public Executor {
 public:
  // `on_done` is called in the worker thread after each job.
  explicit ThreadExecutor(std::function<void()> on_done);
  // Waits for the job in progress. Without the GIL.
  ~ThreadExecutor();

  void submit(Job& job) override;

 private:
  void work();

  std::function<void()> on_done_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Job* job_ = nullptr;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace hil::python
