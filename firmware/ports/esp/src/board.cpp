#include "hil_esp/board.h"

#include <cstdio>

#include "esp_app_desc.h"
#include "esp_chip_info.h"
#include "esp_flash.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_mac.h"
#include "esp_random.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "sdkconfig.h"
#if __has_include("soc/rtc_cntl_reg.h")
#include "soc/rtc_cntl_reg.h"
#endif
#if __has_include("soc/lp_aon_reg.h")
#include "soc/lp_aon_reg.h"
#endif
#if __has_include("soc/lp_system_reg.h")
#include "soc/lp_system_reg.h"
#endif
#if CONFIG_SPIRAM
#include "esp_psram.h"
#endif

namespace hil::esp {
namespace {

std::string_view words(esp_reset_reason_t reason) {
  switch (reason) {
    case ESP_RST_POWERON: return "power_on";
    case ESP_RST_EXT: return "external";
    case ESP_RST_SW: return "software";
    case ESP_RST_PANIC: return "panic";
    case ESP_RST_INT_WDT: return "interrupt_watchdog";
    case ESP_RST_TASK_WDT: return "task_watchdog";
    case ESP_RST_WDT: return "watchdog";
    case ESP_RST_DEEPSLEEP: return "deep_sleep";
    case ESP_RST_BROWNOUT: return "brownout";
    case ESP_RST_SDIO: return "sdio";
    case ESP_RST_USB: return "usb";
    case ESP_RST_JTAG: return "jtag";
    case ESP_RST_EFUSE: return "efuse";
    case ESP_RST_PWR_GLITCH: return "power_glitch";
    case ESP_RST_CPU_LOCKUP: return "cpu_lockup";
    default: return "unknown";
  }
}

enum class Figure : std::uint8_t { kFree, kMinimum, kLargest };

struct HeapCounter {
  CounterSpec spec;
  std::uint32_t caps;
  Figure figure;
};

constexpr std::uint32_t kInternal = MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT;
constexpr HeapCounter kHeap[] = {
    {{"heap_internal_free_bytes", "bytes"}, kInternal, Figure::kFree},
    {{"heap_internal_minimum_bytes", "bytes"}, kInternal, Figure::kMinimum},
    {{"heap_internal_largest_bytes", "bytes"}, kInternal, Figure::kLargest},
#if CONFIG_SPIRAM
    {{"heap_psram_free_bytes", "bytes"}, MALLOC_CAP_SPIRAM, Figure::kFree},
    {{"heap_psram_minimum_bytes", "bytes"}, MALLOC_CAP_SPIRAM, Figure::kMinimum},
    {{"heap_psram_largest_bytes", "bytes"}, MALLOC_CAP_SPIRAM, Figure::kLargest},
#endif
};
constexpr std::size_t kHeapCounters = sizeof kHeap / sizeof kHeap[0];

// after those of the heap
constexpr CounterSpec kOthers[] = {
    {"stack_server_left_bytes", "bytes"},
    {"stack_engine_left_bytes", "bytes"},
    {"log_lines_dropped", "1"},
    // read right after one another: twice, they tell the CPU's clock by the crystal
    {"clock_cycles", "cycles"},
    {"clock_timer_us", "us"},
};

std::size_t heap_figure(const HeapCounter& counter) {
  switch (counter.figure) {
    case Figure::kFree: return heap_caps_get_free_size(counter.caps);
    case Figure::kMinimum: return heap_caps_get_minimum_free_size(counter.caps);
    case Figure::kLargest: return heap_caps_get_largest_free_block(counter.caps);
  }
  return 0;
}

// The ROM looks at this bit before it looks at the strapping pins.
void choose_rom_loader() {
#if defined(RTC_CNTL_FORCE_DOWNLOAD_BOOT)
  REG_SET_BIT(RTC_CNTL_OPTION1_REG, RTC_CNTL_FORCE_DOWNLOAD_BOOT);
#elif defined(LP_AON_FORCE_DOWNLOAD_BOOT)
  REG_SET_BIT(LP_AON_SYS_CFG_REG, LP_AON_FORCE_DOWNLOAD_BOOT);
#elif defined(LP_SYSTEM_REG_FORCE_DOWNLOAD_BOOT)
  REG_SET_BIT(LP_SYSTEM_REG_SYS_CTRL_REG, LP_SYSTEM_REG_FORCE_DOWNLOAD_BOOT);
#else
  ESP_EARLY_LOGW("hil", "this chip enters its ROM loader by its pins only; it restarts");
#endif
}

std::string_view kind() {
#if CONFIG_HIL_EMULATED
  return "emulated";
#else
  return "silicon";
#endif
}

}  // namespace

ChipBoard::ChipBoard(const Clock& clock, Line& line, const EngineTask& engine_task, const LogLines& log)
    : line_(line), engine_task_(engine_task), log_(log) {
  identify(clock);
}

void ChipBoard::identify(const Clock& clock) {
  esp_chip_info_t chip;
  esp_chip_info(&chip);
  std::uint8_t mac[8] = {};
  if (esp_read_mac(mac, ESP_MAC_BASE) == ESP_OK) {
    std::snprintf(mac_, sizeof mac_, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
  }
  const esp_app_desc_t& app = *esp_app_get_description();
  for (std::size_t i = 0; i < sizeof app.app_elf_sha256; ++i) {
    std::snprintf(image_sha256_ + 2 * i, 3, "%02x", app.app_elf_sha256[i]);
  }
  const esp_reset_reason_t reason = esp_reset_reason();
  identity_.app = app.project_name;
  identity_.app_version = app.version;
  identity_.chip = CONFIG_IDF_TARGET;
  identity_.revision = chip.revision;
  identity_.cores = chip.cores;
  identity_.clock_hz = clock.hz();
  if (esp_flash_get_size(nullptr, &identity_.flash_bytes) != ESP_OK) identity_.flash_bytes = 0;
#if CONFIG_SPIRAM
  identity_.psram_bytes = esp_psram_get_size();
#endif
  identity_.internal_bytes = heap_caps_get_total_size(kInternal);
  identity_.mac = mac_;
  identity_.idf = app.idf_ver;
  identity_.sdkconfig_sha256 = HIL_SDKCONFIG_SHA256;
  identity_.image_sha256 = image_sha256_;
  identity_.reset_reason = words(reason);
  identity_.reset_reason_code = static_cast<std::uint8_t>(reason);
  identity_.kind = kind();
  identity_.boot_id = esp_random();
}

void ChipBoard::reset(ResetMode mode) {
  line_.drain();
  if (mode == ResetMode::kRomLoader) choose_rom_loader();
  esp_restart();
}

std::size_t ChipBoard::counter_count() const { return kHeapCounters + sizeof kOthers / sizeof kOthers[0]; }

CounterSpec ChipBoard::counter(std::size_t index) const {
  return index < kHeapCounters ? kHeap[index].spec : kOthers[index - kHeapCounters];
}

std::uint64_t ChipBoard::counter_value(std::size_t index) const {
  if (index < kHeapCounters) return heap_figure(kHeap[index]);
  switch (index - kHeapCounters) {
    case 0: return uxTaskGetStackHighWaterMark(nullptr);  // the server is who asks
    case 1: return engine_task_.stack_left();
    case 2: return log_.dropped();
    case 3: return wall_.cycles();
    default: return static_cast<std::uint64_t>(esp_timer_get_time());
  }
}

}  // namespace hil::esp
