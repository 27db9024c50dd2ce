#include "hil_esp/gate_pin.h"

#include "driver/gpio.h"
#include "esp_private/esp_gpio_reserve.h"

namespace hil::esp {

Outcome GatePin::choose(std::uint8_t pin) {
  if (pin_ >= 0) gpio_reset_pin(static_cast<gpio_num_t>(pin_));
  pin_ = -1;
  if (pin == kNone) return success();
  // flash, PSRAM and whatever a driver has taken are reserved
  if (pin >= GPIO_NUM_MAX || !GPIO_IS_VALID_OUTPUT_GPIO(pin) || esp_gpio_is_reserved(std::uint64_t{1} << pin)) {
    return failure(Status::kBadRange, "this chip has no such GPIO to spare for a gate");
  }
  const gpio_num_t number = static_cast<gpio_num_t>(pin);
  gpio_reset_pin(number);
  gpio_set_level(number, 0);
  gpio_set_direction(number, GPIO_MODE_OUTPUT);
  pin_ = pin;
  return success();
}

void GatePin::set(bool high) {
  if (pin_ >= 0) gpio_set_level(static_cast<gpio_num_t>(pin_), high ? 1 : 0);
}

}  // namespace hil::esp
