#include "observer.h"

#include <utility>

namespace hil::tflm {

void Observer::watch(Watcher watcher) {
  watcher_ = std::move(watcher);
  next_ = 0;
}

std::uint32_t Observer::BeginEvent(const char* tag) {
  if (!watcher_) return 0;
  type_ = tag == nullptr ? std::string_view() : std::string_view(tag);
  begin_ = clock_.cycles();
  return next_++;
}

void Observer::EndEvent(std::uint32_t event_handle) {
  if (watcher_) watcher_(event_handle, type_, clock_.cycles() - begin_);
}

}  // namespace hil::tflm
