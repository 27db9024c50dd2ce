#include "hil_esp/log_lines.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "esp_log.h"
#include "esp_rom_sys.h"

namespace hil::esp {
namespace {

LogLines* the_log = nullptr;

// "\x1b[0;31mE (123) tag: text\x1b[0m\n" without colours and line end
std::string_view bare(std::string_view text) {
  if (text.substr(0, 2) == "\x1b[") {
    const std::size_t end = text.find('m');
    if (end != std::string_view::npos) text.remove_prefix(end + 1);
  }
  const std::size_t reset = text.rfind("\x1b[0m");
  if (reset != std::string_view::npos) text = text.substr(0, reset);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

std::uint8_t level_of(std::string_view text) {
  constexpr std::string_view kLetters = "EWIDV";
  if (text.size() < 3 || text.substr(1, 2) != " (") return 0;
  const std::size_t found = kLetters.find(text[0]);
  return found == std::string_view::npos ? 0 : static_cast<std::uint8_t>(found + 1);
}

std::string_view message_of(std::string_view text) {
  const std::size_t tag = text.find(") ");
  const std::size_t colon = text.find(": ", tag == std::string_view::npos ? 0 : tag);
  return colon == std::string_view::npos ? text : text.substr(colon + 2);
}

}  // namespace

LogLines::LogLines(Line& line)
    : line_(line), buffer_(xMessageBufferCreate(kBufferBytes)), writers_(xSemaphoreCreateMutex()) {
  if (buffer_ == nullptr || writers_ == nullptr) std::abort();
  the_log = this;
  esp_log_set_vprintf(print);
}

int LogLines::print(const char* format, va_list arguments) {
  LogLines& me = *the_log;
  xSemaphoreTake(me.writers_, portMAX_DELAY);
  const int length = std::vsnprintf(me.text_, sizeof me.text_, format, arguments);
  if (length > 0) {
    const std::size_t size = static_cast<std::size_t>(length) < sizeof me.text_ ? length : sizeof me.text_ - 1;
    me.take(bare(std::string_view(me.text_, size)));
  }
  xSemaphoreGive(me.writers_);
  return length;
}

void LogLines::take(std::string_view text) {
  if (text.empty()) return;
  if (level_of(text) == ESP_LOG_ERROR) {
    if (error_.view().empty()) error_.append(message_of(text));
    LastError& last = last_errors_[errors_++ % kLastErrors];
    last.text[text.copy(last.text, sizeof last.text - 1)] = '\0';
    last.at_ms = esp_log_timestamp();
  }
  if (xMessageBufferSend(buffer_, text.data(), text.size(), 0) == 0) ++dropped_;
  line_.wake();
}

void LogLines::printed(std::string_view piece) {
  xSemaphoreTake(writers_, portMAX_DELAY);
  while (!piece.empty()) {
    const std::size_t end = piece.find('\n');
    printed_.append(piece.substr(0, end));
    if (end == std::string_view::npos) break;
    take(bare(printed_.view()));
    printed_ = {};
    piece.remove_prefix(end + 1);
  }
  xSemaphoreGive(writers_);
}

void LogLines::last_words() {
  if (the_log == nullptr) return;
  const LogLines& me = *the_log;
  const std::uint32_t now = esp_log_timestamp();
  const std::uint32_t first = me.errors_ < kLastErrors ? 0 : me.errors_ - kLastErrors;
  for (std::uint32_t i = first; i != me.errors_; ++i) {
    const LastError& error = me.last_errors_[i % kLastErrors];
    if (now - error.at_ms <= kLastWordsMs) esp_rom_printf("\n%s\n", error.text);
  }
}

bool LogLines::pop(Entry& entry) {
  const std::size_t size = xMessageBufferReceive(buffer_, popped_, sizeof popped_, 0);
  if (size == 0) return false;
  entry.text = std::string_view(popped_, size);
  entry.level = level_of(entry.text);
  return true;
}

}  // namespace hil::esp

// Every panic and abort() comes through here (the linker's --wrap), with the flash cache on again.
extern "C" void __real_esp_panic_handler(void* info);
extern "C" void __wrap_esp_panic_handler(void* info) {
  hil::esp::LogLines::last_words();
  __real_esp_panic_handler(info);
}
