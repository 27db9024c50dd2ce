// The first block that the heap refused: libraries log that, in many ways, or not at all.
#pragma once

#include <cstddef>

#include "hil/reasons.h"

namespace hil::esp {

// From now on every refusal is noted, of all tasks.
void watch_refused_blocks();
void forget_refused_block();
// The first since it was forgotten, with the largest free block as it was then; as it is now if none was refused.
Shortage refused_block();

}  // namespace hil::esp
