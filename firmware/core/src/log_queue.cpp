#include "hil/log_queue.h"

namespace hil {

bool LogQueue::push(std::uint8_t level, std::string_view text) {
  text = cut_text(text, kMaxText);
  if (used_ + 2 + text.size() > ring_.size()) return false;
  put(level);
  put(static_cast<std::uint8_t>(text.size()));
  for (const char c : text) put(static_cast<std::uint8_t>(c));
  return true;
}

std::size_t LogQueue::pop(MutableBytes into) {
  if (used_ == 0) return 0;
  into[0] = take();
  const std::size_t size = take();
  for (std::size_t i = 0; i < size; ++i) into[1 + i] = take();
  return 1 + size;
}

void LogQueue::put(std::uint8_t byte) {
  ring_[(head_ + used_) % ring_.size()] = byte;
  ++used_;
}

std::uint8_t LogQueue::take() {
  const std::uint8_t byte = ring_[head_];
  head_ = (head_ + 1) % ring_.size();
  --used_;
  return byte;
}

}  // namespace hil
