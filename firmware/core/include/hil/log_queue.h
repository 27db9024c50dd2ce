// Log lines that wait to be sent, in a ring of bytes. A line that does not fit is dropped and counted by the caller.
#pragma once

#include <cstdint>
#include <string_view>

#include "hil/bytes.h"

namespace hil {

class LogQueue {
 public:
  static constexpr std::size_t kMaxText = 200;  // longer lines are cut: LOG must fit the payload that every host takes

  explicit LogQueue(MutableBytes ring) : ring_(ring) {}

  bool push(std::uint8_t level, std::string_view text);
  // Takes the oldest line off: level and text, written to `into` (1 + kMaxText bytes). Returns their size, 0 if there
  // is none.
  std::size_t pop(MutableBytes into);

 private:
  void put(std::uint8_t byte);
  std::uint8_t take();

  MutableBytes ring_;
  std::size_t head_ = 0;  // of the oldest byte
  std::size_t used_ = 0;
};

}  // namespace hil
