#include "hil/inflate.h"

namespace hil {

namespace {

constexpr std::size_t kMaxBits = 15;
constexpr std::size_t kLiterals = 288;
constexpr std::size_t kDistances = 30;

// Bits of the stream, the lowest of each byte first. Once it ran out `ok` stays false and every bit is 0.
class Bits {
 public:
  explicit Bits(Bytes bytes) : rest_(bytes) {}

  std::uint32_t take(std::size_t count) {
    while (held_ < count) {
      if (rest_.empty()) {
        ok_ = false;
        return 0;
      }
      bits_ |= std::uint32_t{rest_[0]} << held_;
      held_ += 8;
      rest_ = rest_.from(1);
    }
    const std::uint32_t value = bits_ & ((std::uint32_t{1} << count) - 1);
    bits_ >>= count;
    held_ -= count;
    return value;
  }
  // What follows the byte in progress.
  Bytes bytes(std::size_t count) {
    bits_ = 0;
    held_ = 0;
    if (count > rest_.size()) {
      ok_ = false;
      return {};
    }
    const Bytes front = rest_.first(count);
    rest_ = rest_.from(count);
    return front;
  }
  bool ok() const { return ok_; }
  bool ended() const { return ok_ && rest_.empty(); }

 private:
  Bytes rest_;
  std::uint32_t bits_ = 0;
  std::size_t held_ = 0;
  bool ok_ = true;
};

// A canonical Huffman code: how many codes of each length, and the symbols in the order of their codes.
template <std::size_t Symbols>
class Code {
 public:
  // False if the lengths name more codes than there are. Fewer are possible: a stream that uses a missing one is damaged.
  bool build(const std::uint8_t* lengths, std::size_t count) {
    for (std::uint16_t& number : counts_) number = 0;
    for (std::size_t i = 0; i < count; ++i) ++counts_[lengths[i]];
    counts_[0] = 0;
    std::int32_t left = 1;
    std::uint16_t offsets[kMaxBits + 1] = {};
    for (std::size_t bits = 1; bits <= kMaxBits; ++bits) {
      left = left * 2 - counts_[bits];
      if (left < 0) return false;
      if (bits < kMaxBits) offsets[bits + 1] = static_cast<std::uint16_t>(offsets[bits] + counts_[bits]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (lengths[i] != 0) symbols_[offsets[lengths[i]]++] = static_cast<std::uint16_t>(i);
    }
    return true;
  }
  // The next symbol; nothing if there is no such code.
  std::optional<std::uint16_t> next(Bits& bits) const {
    std::uint32_t code = 0;
    std::uint32_t first = 0;
    std::uint32_t index = 0;
    for (std::size_t length = 1; length <= kMaxBits; ++length) {
      code |= bits.take(1);
      const std::uint32_t count = counts_[length];
      if (code < first + count) return symbols_[index + (code - first)];
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    return std::nullopt;
  }

 private:
  std::uint16_t counts_[kMaxBits + 1] = {};
  std::uint16_t symbols_[Symbols] = {};
};

struct Codes {
  Code<kLiterals> literals;
  Code<kDistances> distances;
};

class Inflater {
 public:
  Inflater(Bytes packed, MutableBytes into) : bits_(packed), into_(into) {}

  bool run() {
    bool last = false;
    while (!last) {
      last = bits_.take(1) != 0;
      const std::uint32_t kind = bits_.take(2);
      const bool good = kind == 0 ? stored() : kind == 1 ? fixed() : kind == 2 ? dynamic() : false;
      if (!good || !bits_.ok()) return false;
    }
    return bits_.ended();
  }
  std::size_t size() const { return size_; }

 private:
  bool stored() {
    Reader head(bits_.bytes(4));
    const std::uint16_t length = head.u16();
    const std::uint16_t check = head.u16();
    if (!head.ok() || (length ^ check) != 0xFFFF) return false;
    const Bytes bytes = bits_.bytes(length);
    if (bytes.size() != length || length > into_.size() - size_) return false;
    copy_bytes(into_.data() + size_, bytes);
    size_ += length;
    return true;
  }
  bool fixed() {
    std::uint8_t lengths[kLiterals];
    for (std::size_t i = 0; i < kLiterals; ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    std::uint8_t five[kDistances];
    for (std::uint8_t& length : five) length = 5;
    return codes_.literals.build(lengths, kLiterals) && codes_.distances.build(five, kDistances) && block();
  }
  bool dynamic() {
    const std::size_t literals = 257 + bits_.take(5);
    const std::size_t distances = 1 + bits_.take(5);
    const std::size_t count = 4 + bits_.take(4);
    if (literals > 286 || distances > kDistances) return false;
    static constexpr std::uint8_t kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    std::uint8_t of_lengths[19] = {};
    for (std::size_t i = 0; i < count; ++i) of_lengths[kOrder[i]] = static_cast<std::uint8_t>(bits_.take(3));
    // the code of the code lengths is needed before, the others after: they may share the memory
    if (!codes_.literals.build(of_lengths, 19)) return false;
    std::uint8_t lengths[286 + kDistances] = {};
    if (!read_lengths(MutableBytes(lengths).first(literals + distances))) return false;
    if (lengths[256] == 0) return false;  // no end of block
    return codes_.literals.build(lengths, literals) && codes_.distances.build(lengths + literals, distances) && block();
  }
  bool read_lengths(MutableBytes lengths) {
    for (std::size_t at = 0; at < lengths.size();) {
      const std::optional<std::uint16_t> symbol = codes_.literals.next(bits_);
      if (!symbol || !bits_.ok()) return false;
      if (*symbol < 16) {
        lengths[at++] = static_cast<std::uint8_t>(*symbol);
        continue;
      }
      if (*symbol == 16 && at == 0) return false;
      const std::uint8_t value = *symbol == 16 ? lengths[at - 1] : std::uint8_t{0};
      std::size_t times = *symbol == 16 ? 3 + bits_.take(2) : *symbol == 17 ? 3 + bits_.take(3) : 11 + bits_.take(7);
      if (times > lengths.size() - at) return false;
      while (times-- > 0) lengths[at++] = value;
    }
    return true;
  }
  bool block() {
    while (true) {
      const std::optional<std::uint16_t> symbol = codes_.literals.next(bits_);
      if (!symbol || !bits_.ok()) return false;
      if (*symbol == 256) return true;
      if (*symbol < 256) {
        if (size_ == into_.size()) return false;
        into_[size_++] = static_cast<std::uint8_t>(*symbol);
      } else if (!copy(static_cast<std::size_t>(*symbol - 257))) {
        return false;
      }
    }
  }
  bool copy(std::size_t symbol) {
    static constexpr std::uint16_t kLengths[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                                 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static constexpr std::uint16_t kFroms[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                               193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    if (symbol >= sizeof kLengths / sizeof kLengths[0]) return false;
    const std::size_t length_bits = symbol < 8 || symbol == 28 ? 0 : (symbol - 4) / 4;
    const std::size_t length = kLengths[symbol] + bits_.take(length_bits);
    const std::optional<std::uint16_t> from = codes_.distances.next(bits_);
    if (!from) return false;
    const std::size_t from_bits = *from < 4 ? 0 : (*from - 2u) / 2;
    const std::size_t distance = kFroms[*from] + bits_.take(from_bits);
    if (!bits_.ok() || distance > size_ || length > into_.size() - size_) return false;
    // byte by byte: the stretch may overlap what it makes
    for (std::size_t i = 0; i < length; ++i, ++size_) into_[size_] = into_[size_ - distance];
    return true;
  }

  Bits bits_;
  MutableBytes into_;
  std::size_t size_ = 0;
  Codes codes_;
};

}  // namespace

std::optional<std::size_t> inflate(Bytes packed, MutableBytes into) {
  Inflater inflater(packed, into);
  if (!inflater.run()) return std::nullopt;
  return inflater.size();
}

}  // namespace hil
