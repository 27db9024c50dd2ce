// Who this chip is, and what its memory does while a model runs.
#pragma once

#include "hil/board.h"
#include "hil/clock.h"
#include "hil_esp/cycle_clock.h"
#include "hil_esp/engine_task.h"
#include "hil_esp/line.h"
#include "hil_esp/log_lines.h"

namespace hil::esp {

class ChipBoard final : public Board {
 public:
  ChipBoard(const Clock& clock, Line& line, const EngineTask& engine_task, const LogLines& log);

  const BoardIdentity& identity() const override { return identity_; }
  void reset(ResetMode mode) override;

  std::size_t counter_count() const override;
  CounterSpec counter(std::size_t index) const override;
  std::uint64_t counter_value(std::size_t index) const override;

 private:
  void identify(const Clock& clock);

  Line& line_;
  const EngineTask& engine_task_;
  const LogLines& log_;
  mutable CycleClock wall_;  // of the server's core; the engine's is another one
  BoardIdentity identity_;
  char mac_[18] = {};
  char image_sha256_[65] = {};
};

}  // namespace hil::esp
