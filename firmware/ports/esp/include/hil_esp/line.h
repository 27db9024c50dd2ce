// The line to the host: bytes both ways, without waiting for more than there is.
#pragma once

#include "freertos/FreeRTOS.h"
#include "hil/bytes.h"
#include "hil/line_rate.h"

namespace hil::esp {

class Line {
 public:
  // Waits for bytes, for `wake` or for the time to pass; returns how many bytes were put into `into`.
  virtual std::size_t receive(MutableBytes into, TickType_t wait) = 0;
  // How many bytes `send` takes now.
  virtual std::size_t room() = 0;
  virtual void send(Bytes bytes) = 0;
  // Ends a `receive` that waits; from any task.
  virtual void wake() = 0;
  // Waits until all bytes have left the chip, at most a second.
  virtual void drain() = 0;
  // What changes its rate; null where it has none.
  virtual LineRate* rate() { return nullptr; }

 protected:
  ~Line() = default;
};

// The line that Kconfig chose; installs its driver. Does not return where that fails.
Line& open_line();

}  // namespace hil::esp
