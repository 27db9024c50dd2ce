#include "hil_esp/engine_task.h"

#include <cstdlib>

#include "esp_rom_sys.h"
#include "sdkconfig.h"

namespace hil::esp {

EngineTask::EngineTask(Line& line) : line_(line) {
  constexpr UBaseType_t kPriority = 5;  // the server has more, see app_main
  const BaseType_t made = xTaskCreatePinnedToCore(loop, "hil_engine", CONFIG_HIL_ENGINE_STACK_BYTES, this, kPriority, &task_,
                                                  portNUM_PROCESSORS - 1);
  if (made != pdPASS) {
    esp_rom_printf("\nE (hil) hil: no memory for the engine's stack of %d bytes\n", CONFIG_HIL_ENGINE_STACK_BYTES);
    std::abort();
  }
}

void EngineTask::submit(Job& job) {
  job_ = &job;
  xTaskNotifyGive(task_);
}

void EngineTask::loop(void* self) {
  auto& me = *static_cast<EngineTask*>(self);
  while (true) {
    ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
    me.job_->run();
    me.line_.wake();
  }
}

}  // namespace hil::esp
