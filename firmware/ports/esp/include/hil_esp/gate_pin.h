// A GPIO as the gate.
#pragma once

#include <cstdint>

#include "hil/gate.h"

namespace hil::esp {

class GatePin final : public Gate {
 public:
  Outcome choose(std::uint8_t pin) override;
  void set(bool high) override;

 private:
  int pin_ = -1;
};

}  // namespace hil::esp
