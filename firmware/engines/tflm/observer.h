// Watches the operators of one inference go by: times them, and copies a tensor while its memory still holds it.
#pragma once

#include <functional>
#include <string_view>

#include "hil/clock.h"
#include "hil/engine.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"

namespace hil::tflm {

// The arena reuses memory, so that a tensor is only there right after the operator that makes it. The interpreter tells its
// profiler of the beginning and the end of each operator; that is the moment.
class Observer final : public tflite::MicroProfilerInterface {
 public:
  // Called after operator `index` of the graph with its type and cycles.
  using Watcher = std::function<void(std::size_t index, std::string_view type, std::uint64_t cycles)>;

  explicit Observer(Clock& clock) : clock_(clock) {}

  // From now on, from operator 0; an empty watcher ends it.
  void watch(Watcher watcher);

  std::uint32_t BeginEvent(const char* tag) override;
  void EndEvent(std::uint32_t event_handle) override;

 private:
  Clock& clock_;
  Watcher watcher_;
  std::string_view type_;
  std::uint64_t begin_ = 0;
  std::uint32_t next_ = 0;
};

}  // namespace hil::tflm
