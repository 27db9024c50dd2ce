#include "hil_esp/printed_lines.h"

#include <cstdio>

#include "esp_err.h"
#include "esp_log.h"
#include "esp_vfs.h"

namespace hil::esp {
namespace {

constexpr const char* kDevice = "/hil";
constexpr const char* kFile = "/hil/log";
constexpr std::size_t kBuffer = 128;  // a longer line becomes several

LogLines* taker = nullptr;

int open_file(const char*, int, int) { return 0; }
int close_file(int) { return 0; }

ssize_t write_file(int, const void* data, std::size_t size) {
  taker->printed(std::string_view(static_cast<const char*>(data), size));
  return static_cast<ssize_t>(size);
}

}  // namespace

void take_stdout(LogLines& log) {
  taker = &log;
  static esp_vfs_t device = {};
  device.flags = ESP_VFS_FLAG_DEFAULT;
  device.open = open_file;
  device.close = close_file;
  device.write = write_file;
  ESP_ERROR_CHECK(esp_vfs_register(kDevice, &device, nullptr));
  if (std::freopen(kFile, "w", stdout) == nullptr) {
    ESP_LOGE("hil", "stdout is closed: what libraries print is lost");
    return;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, kBuffer);
}

}  // namespace hil::esp
