// A pin that is high for exactly the timed window of a run, for a meter of current beside the board.
#pragma once

#include <cstdint>

#include "hil/status.h"

namespace hil {

class Gate {
 public:
  static constexpr std::uint8_t kNone = 0xFF;

  // Makes a pin the gate, an output at low; the former one is let go of. kNone: no gate.
  virtual Outcome choose(std::uint8_t pin) = 0;
  // Called by the server's thread or the engine's, never by both at once.
  virtual void set(bool high) = 0;

 protected:
  ~Gate() = default;
};

}  // namespace hil
