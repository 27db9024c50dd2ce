#include "hil/line_rate.h"

namespace hil {

RateKeeper::RateKeeper(LineRate* line) : line_(line), base_(line != nullptr ? line->baud() : 0), kept_(base_) {}

Outcome RateKeeper::ask(std::uint32_t baud, std::uint32_t trial_ms) {
  asked_ = 0;
  due_ = false;
  if (baud == 0 || baud == this->baud()) {
    kept_ = this->baud();
    trying_ = false;
    return success();
  }
  if (line_ == nullptr) return failure(Status::kBadRange, "this line has no rate");
  if (!line_->possible(baud)) return failure(Status::kBadRange, "the port cannot make this rate");
  if (baud != base_ && (trial_ms < kShortestTrialMs || trial_ms > kLongestTrialMs)) {
    return failure(Status::kBadRange, "a trial lasts 20 to 10000 ms");
  }
  asked_ = baud;
  trial_ms_ = trial_ms;
  return success();
}

void RateKeeper::change() {
  due_ = false;
  set(asked_);
  trying_ = asked_ != base_;
  if (!trying_) kept_ = base_;
  tried_at_ms_ = line_->now_ms();
  asked_ = 0;
}

void RateKeeper::set(std::uint32_t baud) {
  line_->set(baud);
  noisy_ = false;
}

void RateKeeper::heard_noise() {
  if (line_ == nullptr || trying_ || baud() == base_) return;
  const std::uint32_t now_ms = line_->now_ms();
  if (!noisy_) {
    noisy_ = true;
    noise_at_ms_ = now_ms;
  } else if (now_ms - noise_at_ms_ >= kNoiseMs) {
    kept_ = base_;
    set(base_);
  }
}

void RateKeeper::poll() {
  if (!trying_ || line_->now_ms() - tried_at_ms_ < trial_ms_) return;
  trying_ = false;
  set(kept_);
}

}  // namespace hil
