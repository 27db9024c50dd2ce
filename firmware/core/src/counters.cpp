#include "hil/counters.h"

namespace hil {

CounterSpec LinkCounters::counter(std::size_t index) const {
  static constexpr CounterSpec kSpecs[] = {
      {"link_frames_received", "frames"},
      {"link_frames_sent", "frames"},
      {"link_noise_segments", "1"},
      {"link_noise_bytes", "bytes"},
      {"link_text_bytes", "bytes"},
      {"link_repeated_requests", "1"},
      {"link_gaps", "1"},
      {"link_data_received", "bytes"},
      {"link_data_duplicate", "bytes"},
      {"link_data_dropped", "bytes"},
      {"link_data_sent", "bytes"},
      {"link_data_resent", "bytes"},
      {"link_logs_dropped", "1"},
      {"runs", "1"},
  };
  static_assert(sizeof kSpecs / sizeof kSpecs[0] == kCount, "a counter without a name");
  return kSpecs[index];
}

}  // namespace hil
