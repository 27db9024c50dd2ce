#include "sdkconfig.h"

#if CONFIG_HIL_LINK_USB_SERIAL_JTAG

#include "driver/usb_serial_jtag.h"
#include "esp_err.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/stream_buffer.h"
#include "freertos/task.h"
#include "hil_esp/line.h"

namespace hil::esp {
namespace {

constexpr std::size_t kSendBytes = 4096;
constexpr std::size_t kPiece = 512;
constexpr std::size_t kDriverBytes = 1024;
constexpr std::size_t kReceiveBytes = 2 * CONFIG_HIL_RX_WINDOW_BYTES;
constexpr std::uint32_t kReaderStack = 2560;
constexpr UBaseType_t kReaderPriority = 11;  // above the server, which it wakes

// The driver has no event that could wake the server for bytes and for `wake` alike, so a task of its own waits for bytes. Nor
// does it tell how much room it has: a piece that did not fit is kept back until it does.
class UsbLine final : public Line {
 public:
  UsbLine() {
    usb_serial_jtag_driver_config_t config = {.tx_buffer_size = kSendBytes, .rx_buffer_size = kDriverBytes};
    ESP_ERROR_CHECK(usb_serial_jtag_driver_install(&config));
    const bool made = received_ != nullptr && happened_ != nullptr &&
                      xTaskCreate(read, "hil_usb", kReaderStack, this, kReaderPriority, nullptr) == pdPASS;
    ESP_ERROR_CHECK(made ? ESP_OK : ESP_ERR_NO_MEM);
  }

  std::size_t receive(MutableBytes into, TickType_t wait) override {
    const std::size_t count = xStreamBufferReceive(received_, into.data(), into.size(), 0);
    if (count != 0 || wait == 0) return count;
    xSemaphoreTake(happened_, wait);
    return xStreamBufferReceive(received_, into.data(), into.size(), 0);
  }

  std::size_t room() override {
    push();
    return kept_ == 0 ? kPiece : 0;
  }

  void send(Bytes bytes) override {
    copy_bytes(piece_, bytes);
    kept_ = bytes.size();
    push();
  }

  void wake() override { xSemaphoreGive(happened_); }

  void drain() override {
    for (int i = 0; i < 10 && kept_ != 0; ++i) {
      vTaskDelay(pdMS_TO_TICKS(100));
      push();
    }
    vTaskDelay(pdMS_TO_TICKS(50));  // the driver does not tell when its buffer is empty; the host polls every millisecond
  }

 private:
  [[noreturn]] static void read(void* self) {
    UsbLine& me = *static_cast<UsbLine*>(self);
    while (true) {
      const int count = usb_serial_jtag_read_bytes(me.read_, sizeof me.read_, portMAX_DELAY);
      if (count <= 0) continue;
      xStreamBufferSend(me.received_, me.read_, static_cast<std::size_t>(count), portMAX_DELAY);
      xSemaphoreGive(me.happened_);
    }
  }

  void push() {
    if (kept_ == 0) return;
    // all of it or nothing: the driver's buffer takes an item whole
    if (usb_serial_jtag_write_bytes(piece_, kept_, 0) > 0) kept_ = 0;
  }

  StreamBufferHandle_t received_ = xStreamBufferCreate(kReceiveBytes, 1);
  SemaphoreHandle_t happened_ = xSemaphoreCreateBinary();
  std::uint8_t read_[64];  // a packet of USB
  std::uint8_t piece_[kPiece];
  std::size_t kept_ = 0;
};

}  // namespace

Line& open_line() {
  static UsbLine line;
  return line;
}

}  // namespace hil::esp

#endif
