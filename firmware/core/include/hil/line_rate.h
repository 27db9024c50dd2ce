// The rate of the line: tried, kept, and given up when nothing intact comes. docs/PROTOCOL.md, section 7.
#pragma once

#include <cstdint>

#include "hil/status.h"

namespace hil {

// The line as its port drives it.
class LineRate {
 public:
  virtual std::uint32_t baud() const = 0;
  virtual bool possible(std::uint32_t baud) const = 0;
  // Once everything that the port was given has left at the former rate.
  virtual void set(std::uint32_t baud) = 0;
  // A clock for time-outs; wraps.
  virtual std::uint32_t now_ms() const = 0;

 protected:
  ~LineRate() = default;
};

class RateKeeper {
 public:
  static constexpr std::uint32_t kShortestTrialMs = 20;
  static constexpr std::uint32_t kLongestTrialMs = 10000;
  // No intact frame in the bytes of so long a time, at another rate than the one of the start: the host talks at that one.
  static constexpr std::uint32_t kNoiseMs = 600;

  // `line` is null where the line has no rate (USB, TCP).
  explicit RateKeeper(LineRate* line);

  std::uint32_t baud() const { return line_ != nullptr ? line_->baud() : 0; }
  // Takes a LINE request. A new rate is on trial for `trial_ms` unless it is the one of the start; 0 keeps the present one.
  Outcome ask(std::uint32_t baud, std::uint32_t trial_ms);
  // The rate that will be when the answer has left.
  std::uint32_t coming() const { return asked_ != 0 ? asked_ : baud(); }
  // The answer was made; the change is due when it has left.
  void answered() { due_ = asked_ != 0; }
  bool due() const { return due_; }
  void change();
  // An intact frame came, or bytes that did not complete one.
  void heard_frame() { noisy_ = false; }
  void heard_noise();
  // Ends a trial that nobody confirmed.
  void poll();

 private:
  void set(std::uint32_t baud);

  LineRate* line_;
  std::uint32_t base_;  // at the start
  std::uint32_t kept_;
  std::uint32_t asked_ = 0;
  std::uint32_t trial_ms_ = 0;
  std::uint32_t tried_at_ms_ = 0;
  std::uint32_t noise_at_ms_ = 0;
  bool due_ = false;
  bool trying_ = false;
  bool noisy_ = false;
};

}  // namespace hil
