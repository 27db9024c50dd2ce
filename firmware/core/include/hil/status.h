// The status numbers of docs/PROTOCOL.md, section 6, and a status with the device's own words.
#pragma once

#include <cstdint>
#include <string_view>

#include "hil/bytes.h"

namespace hil {

enum class [[nodiscard]] Status : std::uint8_t {
  kOk = 0,
  kBadRequest = 1,
  kUnknownKind = 2,
  kNoSession = 3,
  kBadVersion = 4,
  kBadObject = 5,
  kBadTransfer = 6,
  kBadRange = 7,
  kTooLarge = 8,
  kCrcMismatch = 9,
  kNoModel = 10,
  kLoadFailed = 11,
  kWrongFamily = 12,
  kUnsupportedOperator = 13,
  kOutOfMemory = 14,
  kEngineFailed = 15,
  kBusy = 16,
  kPending = 17,
  kGap = 18,
  kStorageFailed = 19,
  kUnknownTensor = 20,
  kMissingInput = 21,
  kStopping = 22,
};

struct [[nodiscard]] Outcome {
  Status status = Status::kOk;
  FixedText<160> text;

  bool ok() const { return status == Status::kOk; }
};

inline Outcome success() { return {}; }
inline Outcome failure(Status status, std::string_view text) { return {status, text}; }

}  // namespace hil
