#include "hil/cobs.h"

namespace hil {

namespace {
constexpr std::ptrdiff_t kFullBlock = 255;  // a code byte and 254 others
}

void CobsEncoder::put(Bytes piece) {
  std::uint8_t* out = out_;
  std::uint8_t* code_at = code_at_;
  for (const std::uint8_t byte : piece) {
    if (out - code_at == kFullBlock) {
      *code_at = 0xFF;
      code_at = out++;
    }
    if (byte == 0) {
      *code_at = static_cast<std::uint8_t>(out - code_at);
      code_at = out++;
    } else {
      *out++ = byte;
    }
  }
  out_ = out;
  code_at_ = code_at;
}

std::size_t CobsEncoder::finish() {
  *code_at_ = static_cast<std::uint8_t>(out_ - code_at_);
  return static_cast<std::size_t>(out_ - begin_);
}

std::optional<std::size_t> cobs_decode(MutableBytes stuffed) {
  if (stuffed.empty() || std::memchr(stuffed.data(), 0, stuffed.size()) != nullptr) return std::nullopt;
  std::uint8_t* out = stuffed.begin();
  const bool whole = cobs_blocks(stuffed, [&out](Bytes run, bool zero_follows) {
    if (!run.empty()) std::memmove(out, run.data(), run.size());
    out += run.size();
    if (zero_follows) *out++ = 0;
  });
  if (!whole) return std::nullopt;
  return static_cast<std::size_t>(out - stuffed.begin());
}

}  // namespace hil
