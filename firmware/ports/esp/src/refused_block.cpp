#include "hil_esp/refused_block.h"

#include <atomic>

#include "esp_err.h"
#include "esp_heap_caps.h"

namespace hil::esp {
namespace {

std::atomic<std::size_t> asked{0};
std::atomic<std::size_t> largest{0};

void note(std::size_t bytes, std::uint32_t caps, const char*) {
  std::size_t none = 0;
  if (asked.compare_exchange_strong(none, bytes)) largest = heap_caps_get_largest_free_block(caps);
}

}  // namespace

void watch_refused_blocks() { ESP_ERROR_CHECK(heap_caps_register_failed_alloc_callback(note)); }

void forget_refused_block() { asked = 0; }

Shortage refused_block() {
  if (asked == 0) return {0, heap_caps_get_largest_free_block(MALLOC_CAP_8BIT)};
  return {asked, largest};
}

}  // namespace hil::esp
