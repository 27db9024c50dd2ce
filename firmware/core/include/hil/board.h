// The board around the server: who it is, what it counts, how it restarts.
#pragma once

#include <cstdint>
#include <string_view>

#include "hil/counters.h"
#include "hil/messages.h"

namespace hil {

// The fields of INFO that do not depend on the model; docs/PROTOCOL.md, section 5.
struct BoardIdentity {
  std::string_view app;
  std::string_view app_version;
  std::string_view chip;
  std::uint32_t revision = 0;
  std::uint32_t cores = 1;
  std::uint32_t clock_hz = 0;
  std::uint32_t flash_bytes = 0;
  std::uint32_t psram_bytes = 0;
  std::uint32_t internal_bytes = 0;
  std::string_view mac;
  std::string_view idf;
  std::string_view sdkconfig_sha256;
  std::string_view image_sha256;
  std::string_view reset_reason;
  std::uint8_t reset_reason_code = 0;
  std::string_view kind;  // "silicon", "emulated" or "virtual"
  std::uint32_t boot_id = 0;
};

class Board : public CounterSource {
 public:
  // The views stay valid as long as the board.
  virtual const BoardIdentity& identity() const = 0;
  // The answer to the request has been handed to the port; flush it before restarting. May return (a virtual board
  // does).
  virtual void reset(ResetMode mode) = 0;

 protected:
  ~Board() = default;
};

}  // namespace hil
