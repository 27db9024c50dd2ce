// What TFLM prints, as lines of ESP-IDF's log: straight onto a shared UART they would cut frames in two. They also say why it
// refuses a model. Both functions take the place of esp-tflite-micro's debug_log.cc, which then is not linked.
#include "debug_log.h"

#include <cstdio>
#include <cstring>

#include "esp_log.h"

namespace {

char line[160];
std::size_t used = 0;

void end_line() {
  while (used > 0 && (line[used - 1] == '\n' || line[used - 1] == '\r')) --used;
  line[used] = '\0';
  if (used > 0) ESP_LOGE("tflm", "%s", line);
  used = 0;
}

}  // namespace

namespace hil::tflm {

void link_debug_log() {}

}  // namespace hil::tflm

// MicroPrintf ends each message with a call of its own for "\r\n".
extern "C" void DebugLog(const char* format, std::va_list arguments) {
  const int length = std::vsnprintf(line + used, sizeof line - used, format, arguments);
  if (length < 0) return;
  const std::size_t room = sizeof line - used - 1;
  used += static_cast<std::size_t>(length) < room ? static_cast<std::size_t>(length) : room;
  if (std::memchr(line, '\n', used) != nullptr || used == sizeof line - 1) end_line();
}

extern "C" int DebugVsnprintf(char* buffer, std::size_t size, const char* format, std::va_list arguments) {
  return std::vsnprintf(buffer, size, format, arguments);
}
