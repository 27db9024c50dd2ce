// What a runtime's own words mean, and what a refused model is answered with.
#pragma once

#include <cstddef>
#include <string_view>

#include "hil/status.h"

namespace hil {

// The status that a runtime's error message stands for; kLoadFailed if it is none of those that are known.
Status status_of_message(std::string_view message);

// What the heap knows of a load that was refused.
struct Shortage {
  std::size_t asked = 0;    // bytes of the first block that nobody got; 0: every block was given
  std::size_t largest = 0;  // the largest block that there was instead
};

// Why a runtime refused a model: `what` in our words, then its own. Where memory lacked, the bytes asked for and the largest
// block stand before its words, which may be cut. Words that mean nothing to us after a block was refused mean that.
Outcome refusal(std::string_view what, std::string_view words, Shortage shortage, Status otherwise = Status::kLoadFailed);

}  // namespace hil
