// Makes the parts, connects them, and pumps bytes between the line and the server.
#include <cstdlib>
#include <new>

#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_task_wdt.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "hil/server.h"
#include "hil_esp/board.h"
#include "hil_esp/cycle_clock.h"
#include "hil_esp/engine_factory.h"
#include "hil_esp/engine_task.h"
#include "hil_esp/golden_partition.h"
#include "hil_esp/images.h"
#include "hil_esp/line.h"
#include "hil_esp/log_lines.h"
#include "sdkconfig.h"
#if CONFIG_HIL_SPIFFS
#include "esp_spiffs.h"
#endif

#ifdef HIL_MODEL_PATH
extern const std::uint8_t hil_model_begin[];
extern const std::uint8_t hil_model_end[];
#endif

namespace {

using hil::MutableBytes;
using hil::Server;

constexpr hil::Config kConfig{CONFIG_HIL_MAX_PAYLOAD, CONFIG_HIL_RX_WINDOW_BYTES, CONFIG_HIL_MAX_SLOTS};
constexpr std::size_t kAnswersBytes = 16 * 256;
constexpr std::size_t kCountersBytes = 1024;
constexpr std::size_t kScratchBytes = 2048;
constexpr std::size_t kLogBytes = 1024;
constexpr UBaseType_t kServerPriority = 10;                 // above the engine's task
constexpr TickType_t kLongestWait = pdMS_TO_TICKS(1000);  // the task watchdog waits longer

// Large and seldom touched: in PSRAM where there is some, so that it takes no internal memory from a model.
MutableBytes reserve(const char* what, std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;  // cache lines
  void* memory = heap_caps_aligned_alloc(kAlignment, bytes, MALLOC_CAP_SPIRAM);
  if (memory == nullptr) memory = heap_caps_aligned_alloc(kAlignment, bytes, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT);
  if (memory == nullptr) {
    ESP_LOGE("hil", "no memory for %s: %u bytes", what, static_cast<unsigned>(bytes));
    std::abort();
  }
  return MutableBytes(static_cast<std::uint8_t*>(memory), bytes);
}

hil::Buffers make_buffers() {
  static std::uint8_t rx_frame[hil::stuffed_limit(CONFIG_HIL_MAX_PAYLOAD)];
  static std::uint8_t tx_frame[hil::encoded_limit(CONFIG_HIL_MAX_PAYLOAD)];
  static std::uint8_t scratch[kScratchBytes];
  static std::uint64_t cycles[CONFIG_HIL_MAX_REPEATS];
  hil::Buffers buffers;
  buffers.rx_frame = MutableBytes(rx_frame);
  buffers.tx_frame = MutableBytes(tx_frame);
  buffers.slots = reserve("slots", CONFIG_HIL_SLOT_BYTES);
  buffers.answers = reserve("answers", kAnswersBytes);
  buffers.info = reserve("info", CONFIG_HIL_INFO_BYTES);
  buffers.counters = reserve("counters", kCountersBytes);
  buffers.profile = reserve("profile", CONFIG_HIL_PROFILE_BYTES);
  buffers.captured = reserve("captured tensor", CONFIG_HIL_CAPTURE_BYTES);
  buffers.cycles = hil::Span<std::uint64_t>(cycles);
  buffers.scratch = MutableBytes(scratch);
  buffers.log = reserve("log", kLogBytes);
  buffers.unpacked = reserve("unpacked", CONFIG_HIL_MAX_PAYLOAD);
  return buffers;
}

hil::Bytes embedded_model() {
#ifdef HIL_MODEL_PATH
  return hil::Bytes(hil_model_begin, static_cast<std::size_t>(hil_model_end - hil_model_begin));
#else
  return {};
#endif
}

void mount_files() {
#if CONFIG_HIL_SPIFFS
  const esp_vfs_spiffs_conf_t config = {.base_path = "/storage", .partition_label = "storage", .max_files = 2,
                                        .format_if_mount_failed = false};
  const esp_err_t error = esp_vfs_spiffs_register(&config);
  if (error != ESP_OK) ESP_LOGE("hil", "partition storage: %s", esp_err_to_name(error));
#endif
}

// Without exceptions, `new` ends in a bare abort(): the host could not tell it from any other.
[[noreturn]] void memory_exhausted() {
  ESP_EARLY_LOGE("hil", "std::bad_alloc: operator new failed, largest block %u bytes",
                 static_cast<unsigned>(heap_caps_get_largest_free_block(MALLOC_CAP_8BIT)));
  std::abort();
}

void send_logs(Server& server, hil::esp::LogLines& log) {
  hil::esp::LogLines::Entry entry;
  while (log.pop(entry)) server.log(entry.level, entry.text);
}

void send_frames(Server& server, hil::esp::Line& line) {
  static std::uint8_t piece[512];
  while (true) {
    const std::size_t room = line.room();
    const std::size_t count = server.transmit(MutableBytes(piece, room < sizeof piece ? room : sizeof piece));
    if (count == 0) return;
    line.send(hil::Bytes(piece, count));
  }
}

[[noreturn]] void pump(Server& server, hil::esp::Line& line, hil::esp::LogLines& log) {
  static std::uint8_t received[1024];
  ESP_ERROR_CHECK(esp_task_wdt_add(nullptr));
  TickType_t wait = 0;
  while (true) {
    ESP_ERROR_CHECK(esp_task_wdt_reset());
    const std::size_t count = line.receive(MutableBytes(received), wait);
    if (count != 0) server.receive(hil::Bytes(received, count));
    server.poll();
    send_logs(server, log);
    send_frames(server, line);
    // full: the line empties within a tick; else nothing happens before bytes come or `wake` is called
    wait = line.room() == 0 ? 1 : kLongestWait;
  }
}

}  // namespace

extern "C" void app_main() {
  using namespace hil::esp;
  std::set_new_handler(memory_exhausted);
  vTaskPrioritySet(nullptr, kServerPriority);
  mount_files();
  Line& line = open_line();
  static LogLines log(line);
  static CycleClock clock;
  static Images images(embedded_model());
  static EngineTask engine_task(line);
  static ChipBoard board(clock, line, engine_task, log);
  static GoldenPartition golden;
  const hil::Parts parts{make_engine(images, log, clock), board, images, clock, engine_task, line.rate(),
                         golden.exists() ? &golden : nullptr};
  const hil::Buffers buffers = make_buffers();
  if (const char* const problem = Server::problem(kConfig, buffers, parts)) {
    ESP_LOGE("hil", "cannot serve: %s", problem);
    std::abort();
  }
  static Server server(kConfig, buffers, parts);
  server.boot();
  pump(server, line, log);
}
