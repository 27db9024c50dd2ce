#include "hil_esp/engine_task.h"

#include <cstdio>
#include <cstdlib>

#include "esp_rom_sys.h"
#include "sdkconfig.h"

namespace hil::esp {
namespace {

// newlib keeps what its conversion of floats takes, for each task. ESP-DL prints some when a model is too large: taken only then,
// it would lie in the largest piece for good, and the next model would find 96 KiB in one block where there were 124.
void print_a_float() {
  char text[48];
  std::snprintf(text, sizeof text, "%.2f %.2e", 123456.789, 1e30);
}

}  // namespace

EngineTask::EngineTask(Line& line) : line_(line), maker_(xTaskGetCurrentTaskHandle()) {
  constexpr UBaseType_t kPriority = 5;  // the server has more, see app_main
  const BaseType_t made = xTaskCreatePinnedToCore(loop, "hil_engine", CONFIG_HIL_ENGINE_STACK_BYTES, this, kPriority, &task_,
                                                  portNUM_PROCESSORS - 1);
  if (made != pdPASS) {
    esp_rom_printf("\nE (hil) hil: no memory for the engine's stack of %d bytes\n", CONFIG_HIL_ENGINE_STACK_BYTES);
    std::abort();
  }
  ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
}

void EngineTask::submit(Job& job) {
  job_ = &job;
  xTaskNotifyGive(task_);
}

void EngineTask::loop(void* self) {
  auto& me = *static_cast<EngineTask*>(self);
  print_a_float();
  xTaskNotifyGive(me.maker_);
  while (true) {
    ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
    me.job_->run();
    me.line_.wake();
  }
}

}  // namespace hil::esp
