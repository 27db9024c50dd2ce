#include "sdkconfig.h"

#if CONFIG_HIL_LINK_USB_SERIAL_JTAG

#include "driver/usb_serial_jtag.h"
#include "esp_err.h"
#include "hil_esp/line.h"

namespace hil::esp {
namespace {

constexpr std::size_t kSendBytes = 4096;
constexpr std::size_t kPiece = 512;

// The driver has no event to be woken by and does not tell how much room it has. So a wait is cut into ticks, and a piece
// that did not fit is kept back until it does.
class UsbLine final : public Line {
 public:
  UsbLine() {
    usb_serial_jtag_driver_config_t config = {.tx_buffer_size = kSendBytes, .rx_buffer_size = 2 * CONFIG_HIL_RX_WINDOW_BYTES};
    ESP_ERROR_CHECK(usb_serial_jtag_driver_install(&config));
  }

  std::size_t receive(MutableBytes into, TickType_t wait) override {
    const int read = usb_serial_jtag_read_bytes(into.data(), into.size(), wait == 0 ? 0 : 1);
    return read > 0 ? static_cast<std::size_t>(read) : 0;
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

  void wake() override {}

  void drain() override {
    for (int i = 0; i < 10 && kept_ != 0; ++i) {
      vTaskDelay(pdMS_TO_TICKS(100));
      push();
    }
    vTaskDelay(pdMS_TO_TICKS(50));  // the driver does not tell when its buffer is empty; the host polls every millisecond
  }

 private:
  void push() {
    if (kept_ == 0) return;
    // all of it or nothing: the driver's buffer takes an item whole
    if (usb_serial_jtag_write_bytes(piece_, kept_, 0) > 0) kept_ = 0;
  }

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
