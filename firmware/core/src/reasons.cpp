#include "hil/reasons.h"

namespace hil {

namespace {

struct Words {
  std::string_view text;
  Status status;
};

// ESP-DL 3.x, TFLM of 2020 to 2026 (esp-tflite-micro 1.0 to 1.4). The first that a message holds decides.
constexpr Words kWords[] = {
    {"Failed to alloc", Status::kOutOfMemory},  // ESP-DL, and TFLM's "Failed to allocate ... memory"
    {"failed to alloc", Status::kOutOfMemory},
    {"root_alloc failed", Status::kOutOfMemory},
    {"can not callocate", Status::kOutOfMemory},  // ESP-DL: enough bytes, but no aligned block of them
    {"Mem alloc fail", Status::kOutOfMemory},
    {"Unable to allocate", Status::kOutOfMemory},
    {"Failed to resize buffer", Status::kOutOfMemory},
    {"Arena size is too small", Status::kOutOfMemory},
    {"Failed starting model allocation", Status::kOutOfMemory},
    {"exceeds available tensor arena", Status::kOutOfMemory},
    {"missing: ", Status::kOutOfMemory},  // "Requested: 4096, available 1264, missing: 2832"
    {"implement and register it first", Status::kUnsupportedOperator},
    // "Type INT16 (7) not supported.", "ELU only supports float32 and int8", "Don't support this mode", "Unsupported type"
    {"upport", Status::kUnsupportedOperator},
    {"Unhandled", Status::kUnsupportedOperator},
    {"accepted as input type", Status::kUnsupportedOperator},
    {", requires ", Status::kUnsupportedOperator},  // "Output type is INT16, requires float or int8."
    {"resolver size is too", Status::kUnsupportedOperator},
    {"Didn't find op", Status::kUnsupportedOperator},
    {"Did not find a parser", Status::kUnsupportedOperator},
    {"Missing registration", Status::kUnsupportedOperator},
    {"Failed to get registration", Status::kUnsupportedOperator},
    {"Op builtin_code out of range", Status::kUnsupportedOperator},
};
// Of files rather than of operators, and TFLM's of its own tables and order of calls: no larger memory would help.
constexpr std::string_view kNeither[] = {"Unsupported format", "schema version", "Maximum resource variable count",
                                         "when one is already allocated"};

bool holds(std::string_view message, std::string_view words) { return message.find(words) != std::string_view::npos; }

}  // namespace

Status status_of_message(std::string_view message) {
  for (const std::string_view words : kNeither) {
    if (holds(message, words)) return Status::kLoadFailed;
  }
  for (const Words& words : kWords) {
    if (holds(message, words.text)) return words.status;
  }
  return Status::kLoadFailed;
}

Outcome refusal(std::string_view what, std::string_view words, Shortage shortage, Status otherwise) {
  Status status = status_of_message(words);
  if (status == Status::kLoadFailed) status = shortage.asked != 0 ? Status::kOutOfMemory : otherwise;
  Outcome outcome = failure(status, what);
  if (status == Status::kOutOfMemory) {
    outcome.text.append(" (");
    if (shortage.asked != 0) outcome.text.append(shortage.asked).append(" bytes asked for, ");
    outcome.text.append("largest block ").append(shortage.largest).append(" bytes)");
  }
  if (!words.empty()) outcome.text.append(": ").append(words);
  return outcome;
}

}  // namespace hil
