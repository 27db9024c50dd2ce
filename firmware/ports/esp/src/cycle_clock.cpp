#include "hil_esp/cycle_clock.h"

#include "esp_clk_tree.h"
#include "esp_cpu.h"
#include "esp_err.h"
#include "esp_timer.h"

namespace hil::esp {

CycleClock::CycleClock() {
  ESP_ERROR_CHECK(esp_clk_tree_src_get_freq_hz(SOC_MOD_CLK_CPU, ESP_CLK_TREE_SRC_FREQ_PRECISION_EXACT, &hz_));
}

std::uint64_t CycleClock::cycles() {
  const std::uint32_t counter = esp_cpu_get_cycle_count();
  const std::int64_t us = esp_timer_get_time();
  const std::uint64_t expected = static_cast<std::uint64_t>(us - last_us_) * hz_ / 1'000'000;
  const std::uint64_t least = counter - static_cast<std::uint32_t>(last_cycles_);  // modulo 2^32
  constexpr std::uint64_t kWrap = std::uint64_t{1} << 32;
  // the number of wraps that brings it nearest to what the timer says
  const std::uint64_t wraps = expected > least ? (expected - least + kWrap / 2) / kWrap : 0;
  last_us_ = us;
  last_cycles_ += static_cast<std::uint32_t>(least) + wraps * kWrap;
  return last_cycles_;
}

}  // namespace hil::esp
