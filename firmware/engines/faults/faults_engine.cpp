// An engine that crashes on purpose, in the way that LOAD's path names: to see on a real chip that supervision recognises it.
#include <cassert>
#include <cstdlib>

#include "esp_heap_caps.h"
#include "esp_idf_version.h"
#include "esp_task_wdt.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "hil_esp/engine_factory.h"

namespace hil::faults {
namespace {

constexpr std::string_view kFamilies[] = {"c"};
constexpr EngineIdentity kIdentity{"faults", "1", Span<const std::string_view>(kFamilies)};

void read_nowhere() {
  const volatile int* volatile nowhere = nullptr;
  static_cast<void>(*nowhere);
}

void call_abort() { std::abort(); }

void fail_assert() {
  volatile bool held = false;
  assert(held);
}

// ESP-IDF 6.0 deprecates the name that older ones have.
std::uint8_t* lowest_of_stack() {
#if ESP_IDF_VERSION >= ESP_IDF_VERSION_VAL(6, 0, 0)
  return reinterpret_cast<std::uint8_t*>(xTaskGetStackStart(nullptr));
#else
  return pxTaskGetStackStart(nullptr);
#endif
}

// An array that reaches a little below the end of the stack, given back before the next switch of tasks: FreeRTOS sees its
// canary gone there, a chip's guard sees the stack pointer at once. What lies below is not written to.
__attribute__((noinline)) void overflow_stack() {
  constexpr std::size_t kBelow = 32;
  std::uint8_t* const end = lowest_of_stack();
  const std::size_t left = static_cast<std::uint8_t*>(__builtin_frame_address(0)) - end;
  auto* array = static_cast<volatile std::uint8_t*>(__builtin_alloca(left + kBelow));
  asm volatile("" : "+r"(array));
  for (volatile std::uint8_t* at = array; at < end + 2 * kBelow; ++at) {
    if (at >= end) *at = 0x5A;
  }
}

void exhaust_stack() {
  overflow_stack();
  vTaskDelay(2);
}

void corrupt_heap() {
  auto* const block = static_cast<volatile std::uint8_t*>(heap_caps_malloc(64, MALLOC_CAP_8BIT));
  for (int i = 0; i < 96; ++i) block[i] = 0x5A;
  heap_caps_free(const_cast<std::uint8_t*>(block));
  for (int i = 0; i < 64; ++i) heap_caps_free(heap_caps_malloc(16 * i, MALLOC_CAP_8BIT));
  heap_caps_check_integrity_all(true);
  std::abort();
}

void exhaust_memory() {
  while (true) *new volatile std::uint8_t[4096] = 1;
}

void bark() {  // the task watchdog's turn
  ESP_ERROR_CHECK(esp_task_wdt_add(nullptr));
  while (true) {
  }
}

void stop_interrupts() {
  portDISABLE_INTERRUPTS();
  while (true) {
  }
}

struct Fault {
  std::string_view name;
  void (*happen)();
};
constexpr Fault kFaults[] = {
    {"panic", read_nowhere},        {"abort", call_abort},          {"assert", fail_assert},
    {"stack_overflow", exhaust_stack}, {"heap_corruption", corrupt_heap}, {"out_of_memory", exhaust_memory},
    {"task_watchdog", bark},        {"interrupt_watchdog", stop_interrupts},
};

class FaultsEngine final : public Engine {
 public:
  const EngineIdentity& identity() const override { return kIdentity; }
  Outcome load(const ModelSource& source) override {
    for (const Fault& fault : kFaults) {
      if (fault.name == source.path) fault.happen();
    }
    return failure(Status::kLoadFailed, "this image only crashes: LOAD with the path panic, abort, assert, ...");
  }
  void unload() override {}
  ModelIdentity model() const override { return {}; }
  std::size_t tensor_count(Role) const override { return 0; }
  TensorSpec tensor(Role, std::size_t) const override { return {}; }
  Outcome set_input(std::size_t, Bytes) override { return failure(Status::kNoModel, ""); }
  Outcome invoke(const Invocation&, Invoked&) override { return failure(Status::kNoModel, ""); }
  Outcome get_output(std::size_t, MutableBytes) override { return failure(Status::kNoModel, ""); }
  std::size_t counter_count() const override { return 0; }
  CounterSpec counter(std::size_t) const override { return {}; }
  std::uint64_t counter_value(std::size_t) const override { return 0; }
};

}  // namespace
}  // namespace hil::faults

namespace hil::esp {

Engine& make_engine(Images&, LogLines&, Clock&) {
  static faults::FaultsEngine engine;
  return engine;
}

}  // namespace hil::esp
