// Makes the parts, connects them, and pumps bytes between the line and the server.
#include <cstdlib>
#include <new>

#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_rom_sys.h"
#include "esp_task_wdt.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "hil/lasting.h"
#include "hil/server.h"
#include "hil_esp/board.h"
#include "hil_esp/chip_heap.h"
#include "hil_esp/cycle_clock.h"
#include "hil_esp/engine_factory.h"
#include "hil_esp/engine_task.h"
#include "hil_esp/gate_pin.h"
#include "hil_esp/golden_partition.h"
#include "hil_esp/images.h"
#include "hil_esp/line.h"
#include "hil_esp/log_lines.h"
#include "hil_esp/printed_lines.h"
#include "hil_esp/refused_block.h"
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

constexpr hil::Config kConfig{CONFIG_HIL_MAX_PAYLOAD, CONFIG_HIL_RX_WINDOW_BYTES, CONFIG_HIL_MAX_SLOTS,
                              hil::RoomLimits{CONFIG_HIL_SLOT_BYTES, CONFIG_HIL_CAPTURE_BYTES}};
constexpr hil::LastingSizes kLasting{CONFIG_HIL_INFO_BYTES, CONFIG_HIL_PROFILE_BYTES, CONFIG_HIL_MAX_PAYLOAD};
constexpr std::size_t kScratchBytes = 2048;
constexpr std::size_t kLastingBytes = 64 * 1024;  // stacks, drivers and buffers that app_main makes: more than they take
constexpr UBaseType_t kServerPriority = 10;                 // above the engine's task
constexpr TickType_t kLongestWait = pdMS_TO_TICKS(1000);  // the task watchdog waits longer

// Says why on the console itself, then aborts: the log goes to the host by now, and would not reach it any more.
[[noreturn]] void give_up(const char* why) {
  esp_rom_printf("\nE (hil) hil: %s; largest free block %u bytes\n", why,
                 static_cast<unsigned>(heap_caps_get_largest_free_block(MALLOC_CAP_8BIT)));
  std::abort();
}

hil::Buffers make_buffers(hil::Heap& heap) {
  static std::uint8_t rx_frame[hil::stuffed_limit(CONFIG_HIL_MAX_PAYLOAD)];
  static std::uint8_t tx_frame[hil::encoded_limit(CONFIG_HIL_MAX_PAYLOAD)];
  static std::uint8_t scratch[kScratchBytes];
  static std::uint64_t cycles[CONFIG_HIL_MAX_REPEATS];
  hil::Buffers buffers;
  if (const char* const lacking = hil::take_lasting(heap, kLasting, buffers)) give_up(lacking);
  buffers.rx_frame = MutableBytes(rx_frame);
  buffers.tx_frame = MutableBytes(tx_frame);
  buffers.cycles = hil::Span<std::uint64_t>(cycles);
  buffers.scratch = MutableBytes(scratch);
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
  const hil::Shortage shortage = hil::esp::refused_block();
  esp_rom_printf("\nE (hil) hil: std::bad_alloc: operator new failed (%u bytes asked for, largest block %u bytes)\n",
                 static_cast<unsigned>(shortage.asked), static_cast<unsigned>(shortage.largest));
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
  static ChipHeap heap;
  const MutableBytes held = hil::hold_largest(heap, kLastingBytes);
  mount_files();
  Line& line = open_line();
  static LogLines log(line);
  take_stdout(log);
  watch_refused_blocks();
  static CycleClock clock;
  static Images images(embedded_model());
  static EngineTask engine_task(line);
  static ChipBoard board(clock, line, engine_task, log);
  static GoldenPartition golden;
  static GatePin gate;
  const hil::Parts parts{make_engine(images, log, clock), board, images, clock, engine_task, line.rate(),
                         golden.exists() ? &golden : nullptr, &heap, &gate};
  const hil::Buffers buffers = make_buffers(heap);
  if (const char* const problem = Server::problem(kConfig, buffers, parts)) give_up(problem);
  static Server server(kConfig, buffers, parts);
  server.boot();
  if (!held.empty()) {
    heap.give_back(held);
    // the least that was free counts from here: it is what models left
    ESP_ERROR_CHECK(heap_caps_monitor_local_minimum_free_size_start());
  }
  pump(server, line, log);
}
