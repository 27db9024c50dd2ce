// The task that loads and runs models, so that the server answers meanwhile.
#pragma once

#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "hil/executor.h"
#include "hil_esp/line.h"

namespace hil::esp {

// Pinned to the last core, below the server's priority: an inference of any length starves neither the server nor, because
// only the server reports to it, the task watchdog.
class EngineTask final : public Executor {
 public:
  // Waits until the task has what it keeps.
  explicit EngineTask(Line& line);

  void submit(Job& job) override;
  // Bytes of its stack that were never used.
  std::size_t stack_left() const { return uxTaskGetStackHighWaterMark(task_); }

 private:
  [[noreturn]] static void loop(void* self);

  Line& line_;
  TaskHandle_t maker_;
  Job* job_ = nullptr;
  TaskHandle_t task_ = nullptr;
};

}  // namespace hil::esp
