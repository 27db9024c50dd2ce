// Counters describe themselves: a name and a unit travel in INFO, so the host holds no list of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hil {

struct CounterSpec {
  std::string_view name;
  std::string_view unit;  // "bytes", "frames", "1"
};

class CounterSource {
 public:
  // The number and the order of the counters never change.
  virtual std::size_t counter_count() const = 0;
  virtual CounterSpec counter(std::size_t index) const = 0;
  virtual std::uint64_t counter_value(std::size_t index) const = 0;

 protected:
  ~CounterSource() = default;
};

// What the server counts itself.
enum class LinkCounter : std::uint8_t {
  kFramesReceived,
  kFramesSent,
  kNoiseSegments,
  kNoiseBytes,
  kTextBytes,
  kRepeatedRequests,
  kGaps,
  kDataBytesReceived,
  kDataBytesDuplicate,
  kDataBytesDropped,
  kDataBytesSent,
  kDataBytesResent,
  kLogsDropped,
  kRuns,
  kCount,
};

class LinkCounters final : public CounterSource {
 public:
  void add(LinkCounter counter, std::uint64_t amount = 1) { values_[static_cast<std::size_t>(counter)] += amount; }

  std::size_t counter_count() const override { return kCount; }
  CounterSpec counter(std::size_t index) const override;
  std::uint64_t counter_value(std::size_t index) const override { return values_[index]; }

 private:
  static constexpr std::size_t kCount = static_cast<std::size_t>(LinkCounter::kCount);
  std::uint64_t values_[kCount] = {};
};

}  // namespace hil
