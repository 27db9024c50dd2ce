// The CPU's cycle counter, extended to 64 bits.
#pragma once

#include <cstdint>

#include "hil/clock.h"

namespace hil::esp {

// The counter has 32 bits and wraps within 11 to 36 s; an inference may take longer. esp_timer, which runs from the same
// crystal, tells how often it wrapped. Each core has its own counter: call it from one pinned task.
class CycleClock final : public Clock {
 public:
  CycleClock();
  std::uint64_t cycles() override;
  std::uint32_t hz() const override { return hz_; }

 private:
  std::uint32_t hz_;
  std::uint64_t last_cycles_ = 0;
  std::int64_t last_us_ = 0;
};

}  // namespace hil::esp
