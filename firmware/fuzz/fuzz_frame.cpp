// The frame decoder: no input breaks it, and no way of cutting a stream changes what it says.
// First byte: the size of the pieces. Second: what is done to the rest before it is decoded.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "hil/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace hil;

constexpr std::size_t kLimit = 48;

// A hash (FNV-1a) of everything that a decoder says; pieces of text that follow one another count as one.
class Digest final : public FrameSink {
 public:
  std::uint64_t value() const { return value_; }

 private:
  void on_frame(const Frame& frame) override {
    begin('F');
    add(frame.kind);
    add(frame.session);
    add(static_cast<std::uint8_t>(frame.seq));
    add(static_cast<std::uint8_t>(frame.seq >> 8));
    for (const std::uint8_t byte : frame.payload) add(byte);
  }
  void on_text(Bytes text) override {
    if (last_ != 'T') begin('T');
    for (const std::uint8_t byte : text) add(byte);
  }
  void on_noise(std::size_t bytes) override {
    begin('N');
    for (int i = 0; i < 4; ++i) add(static_cast<std::uint8_t>(bytes >> (8 * i)));
  }
  void begin(char what) {
    last_ = what;
    add(0);
    add(static_cast<std::uint8_t>(what));
  }
  void add(std::uint8_t byte) { value_ = (value_ ^ byte) * 1099511628211u; }

  std::uint64_t value_ = 14695981039346656037u;
  char last_ = 0;
};

std::uint64_t decoded(Bytes stream, std::size_t step) {
  std::uint8_t buffer[stuffed_limit(kLimit)];
  FrameDecoder decoder(MutableBytes(buffer), kLimit);
  Digest digest;
  for (std::size_t at = 0; at < stream.size(); at += step) {
    decoder.feed(stream.part(at, std::min(step, stream.size() - at)), digest);
  }
  return digest.value();
}

// Random bytes hold no CRC: frames with them as payload, and one byte of the stream damaged.
std::vector<std::uint8_t> framed(Bytes rest, std::uint8_t how) {
  std::vector<std::uint8_t> stream;
  for (std::size_t at = 0; at < rest.size();) {
    const std::size_t count = std::min<std::size_t>(rest[at] % 64u, rest.size() - at);
    std::uint8_t raw[encoded_limit(64)];
    FrameEncoder frame(raw, static_cast<std::uint8_t>(0x80 | (rest[at] & 0x3Fu)), 1, 2);
    frame.put(rest.part(at, count));
    stream.insert(stream.end(), raw, raw + frame.finish());
    at += count + 1;
  }
  if (how % 4 == 3 && !stream.empty()) stream[how * 7u % stream.size()] ^= static_cast<std::uint8_t>(how | 1);
  return stream;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t step = 1 + data[0] % 97u;
  const Bytes rest(data + 2, size - 2);
  // a heap block of exactly its size: AddressSanitizer guards its end
  const std::vector<std::uint8_t> stream =
      data[1] % 2 == 1 ? framed(rest, data[1]) : std::vector<std::uint8_t>(rest.begin(), rest.end());
  const Bytes all(stream.data(), stream.size());
  if (decoded(all, step) != decoded(all, stream.size() + 1)) std::abort();
  return 0;
}
