#include "sdkconfig.h"

#if !CONFIG_HIL_LINK_USB_SERIAL_JTAG

#include "driver/uart.h"
#include "esp_err.h"
#include "esp_intr_alloc.h"
#include "esp_timer.h"
#include "hil_esp/line.h"

namespace hil::esp {
namespace {

#if CONFIG_HIL_LINK_CONSOLE_UART
constexpr auto kPort = static_cast<uart_port_t>(CONFIG_ESP_CONSOLE_UART_NUM);
#else
constexpr auto kPort = static_cast<uart_port_t>(CONFIG_HIL_UART_PORT);
#endif
constexpr int kReceiveBytes = 2 * CONFIG_HIL_RX_WINDOW_BYTES;
constexpr std::size_t kSendBytes = 4096;
// What waits in front of the line at most: 12 ms, more than a tick of 10 ms. An answer waits behind it, so not more.
constexpr std::size_t send_level(std::size_t baud) {
  const std::size_t ahead = baud / 10 * 12 / 1000;
  return ahead < 256 ? 256 : ahead < kSendBytes ? ahead : kSendBytes;
}
// The divider reaches further; boards' USB bridges and wires do not.
constexpr std::uint32_t kLowestBaud = 9600;
constexpr std::uint32_t kHighestBaud = 5000000;
constexpr int kEvents = 32;
#if CONFIG_UART_ISR_IN_IRAM
constexpr int kInterrupt = ESP_INTR_FLAG_IRAM;
#else
constexpr int kInterrupt = 0;
#endif

class UartLine final : public Line, private LineRate {
 public:
  UartLine() {
    ESP_ERROR_CHECK(uart_driver_install(kPort, kReceiveBytes, kSendBytes, kEvents, &events_, kInterrupt));
#if CONFIG_HIL_LINK_CONSOLE_UART
    ESP_ERROR_CHECK(uart_wait_tx_done(kPort, pdMS_TO_TICKS(200)));  // the boot log leaves at its own rate
    ESP_ERROR_CHECK(uart_set_baudrate(kPort, CONFIG_HIL_UART_BAUD));
#else
    uart_config_t config = {};
    config.baud_rate = CONFIG_HIL_UART_BAUD;
    config.data_bits = UART_DATA_8_BITS;
    config.parity = UART_PARITY_DISABLE;
    config.stop_bits = UART_STOP_BITS_1;
    config.flow_ctrl = UART_HW_FLOWCTRL_DISABLE;
    config.source_clk = UART_SCLK_DEFAULT;
    ESP_ERROR_CHECK(uart_param_config(kPort, &config));
    ESP_ERROR_CHECK(uart_set_pin(kPort, CONFIG_HIL_UART_TX_PIN, CONFIG_HIL_UART_RX_PIN, -1, -1));
#endif
  }

  std::size_t receive(MutableBytes into, TickType_t wait) override {
    std::size_t there = buffered();
    if (there == 0) {
      uart_event_t event;
      xQueueReceive(events_, &event, wait);
      there = buffered();
    }
    if (there == 0) return 0;
    const int read = uart_read_bytes(kPort, into.data(), there < into.size() ? there : into.size(), 0);
    return read > 0 ? static_cast<std::size_t>(read) : 0;
  }

  std::size_t room() override {
    std::size_t free = 0;
    if (uart_get_tx_buffer_free_size(kPort, &free) != ESP_OK) return 0;
    const std::size_t unused = kSendBytes - send_level(baud_);
    return free > unused ? free - unused : 0;
  }

  void send(Bytes bytes) override { uart_write_bytes(kPort, bytes.data(), bytes.size()); }

  void wake() override {
    const uart_event_t event = {.type = UART_EVENT_MAX, .size = 0, .timeout_flag = false};
    xQueueSend(events_, &event, 0);  // a full queue wakes the reader as well
  }

  void drain() override { uart_wait_tx_done(kPort, pdMS_TO_TICKS(1000)); }
  LineRate* rate() override { return this; }

 private:
  static std::size_t buffered() {
    std::size_t bytes = 0;
    return uart_get_buffered_data_len(kPort, &bytes) == ESP_OK ? bytes : 0;
  }

  std::uint32_t baud() const override { return baud_; }
  bool possible(std::uint32_t baud) const override { return baud >= kLowestBaud && baud <= kHighestBaud; }
  void set(std::uint32_t baud) override {
    drain();
    if (uart_set_baudrate(kPort, baud) == ESP_OK) baud_ = baud;
  }
  std::uint32_t now_ms() const override { return static_cast<std::uint32_t>(esp_timer_get_time() / 1000); }

  QueueHandle_t events_ = nullptr;
  std::uint32_t baud_ = CONFIG_HIL_UART_BAUD;
};

}  // namespace

Line& open_line() {
  static UartLine line;
  return line;
}

}  // namespace hil::esp

#endif
