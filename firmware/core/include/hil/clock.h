// The clock that runs are timed with.
#pragma once

#include <cstdint>

namespace hil {

class Clock {
 public:
  // 64 bits: a 32-bit cycle counter wraps in 18 s at 240 MHz. Called by the thread that runs the engine.
  virtual std::uint64_t cycles() = 0;
  virtual std::uint32_t hz() const = 0;

 protected:
  ~Clock() = default;
};

}  // namespace hil
