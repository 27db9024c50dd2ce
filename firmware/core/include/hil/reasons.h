// What a runtime's own error message means, as a status. ESP-DL and TFLM tell why they refuse a model only in words.
#pragma once

#include <string_view>

#include "hil/status.h"

namespace hil {

// kOutOfMemory, kUnsupportedOperator, or kLoadFailed where the words tell of neither.
Status status_of_message(std::string_view message);

}  // namespace hil
