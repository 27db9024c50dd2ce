// A view of contiguous objects that somebody else owns (std::span is C++20), and little-endian access to bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace hil {

template <typename T>
class Span {
 public:
  constexpr Span() = default;
  constexpr Span(T* data, std::size_t size) : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr Span(T (&array)[N]) : data_(array), size_(N) {}
  template <typename U, typename = std::enable_if_t<std::is_same_v<const U, T>>>
  constexpr Span(Span<U> other) : data_(other.data()), size_(other.size()) {}

  constexpr T* data() const { return data_; }
  constexpr std::size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr T& operator[](std::size_t index) const { return data_[index]; }
  constexpr T* begin() const { return data_; }
  constexpr T* end() const { return data_ + size_; }

  // The part from `offset` on. `offset` and `count` must lie inside.
  constexpr Span from(std::size_t offset) const { return Span(data_ + offset, size_ - offset); }
  constexpr Span part(std::size_t offset, std::size_t count) const { return Span(data_ + offset, count); }
  constexpr Span first(std::size_t count) const { return Span(data_, count); }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

using Bytes = Span<const std::uint8_t>;
using MutableBytes = Span<std::uint8_t>;

// memcpy and memmove that accept empty views with a null pointer.
inline void copy_bytes(std::uint8_t* to, Bytes from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

inline Bytes as_bytes(std::string_view text) {
  return Bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

inline std::string_view as_text(Bytes bytes) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// At most `size` bytes of UTF-8 text, cut between characters.
inline std::string_view cut_text(std::string_view text, std::size_t size) {
  if (text.size() <= size) return text;
  while (size > 0 && (static_cast<std::uint8_t>(text[size]) & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

// Text of bounded length, cut at the capacity: names and error texts without a heap.
template <std::size_t Capacity>
class FixedText {
 public:
  FixedText() = default;
  FixedText(std::string_view text) { append(text); }

  FixedText& append(std::string_view text) {
    text = cut_text(text, Capacity - size_);
    if (!text.empty()) std::memcpy(data_ + size_, text.data(), text.size());
    size_ += text.size();
    return *this;
  }
  FixedText& append(std::uint64_t number) {
    char digits[20];
    std::size_t at = sizeof digits;
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    return append(std::string_view(digits + at, sizeof digits - at));
  }
  std::string_view view() const { return std::string_view(data_, size_); }
  static constexpr std::size_t capacity() { return Capacity; }

 private:
  char data_[Capacity] = {};
  std::size_t size_ = 0;
};

// Takes little-endian integers off the front; once it ran out of bytes `ok` stays false and every value is 0.
class Reader {
 public:
  explicit Reader(Bytes bytes) : rest_(bytes) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(take(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(take(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(take(4)); }
  Bytes bytes(std::size_t count) {
    if (count > rest_.size()) {
      ok_ = false;
      return {};
    }
    const Bytes front = rest_.first(count);
    rest_ = rest_.from(count);
    return front;
  }
  Bytes rest() const { return rest_; }
  bool ok() const { return ok_; }
  bool ok_and_empty() const { return ok_ && rest_.empty(); }

 private:
  std::uint64_t take(std::size_t count) {
    std::uint64_t value = 0;
    const Bytes front = bytes(count);
    for (std::size_t i = front.size(); i-- > 0;) value = value << 8 | front[i];
    return value;
  }

  Bytes rest_;
  bool ok_ = true;
};

// Puts little-endian integers into a buffer; what does not fit is left out and `ok` turns false.
class Writer {
 public:
  explicit Writer(MutableBytes into) : into_(into) {}

  Writer& u8(std::uint8_t value) { return put(value, 1); }
  Writer& u16(std::uint16_t value) { return put(value, 2); }
  Writer& u32(std::uint32_t value) { return put(value, 4); }
  Writer& u64(std::uint64_t value) { return put(value, 8); }
  Writer& bytes(Bytes value) {
    if (value.size() > into_.size() - size_) {
      ok_ = false;
      return *this;
    }
    copy_bytes(into_.data() + size_, value);
    size_ += value.size();
    return *this;
  }
  std::size_t size() const { return size_; }
  bool ok() const { return ok_; }

 private:
  Writer& put(std::uint64_t value, std::size_t count) {
    std::uint8_t raw[8];
    for (std::size_t i = 0; i < count; ++i) raw[i] = static_cast<std::uint8_t>(value >> (8 * i));
    return bytes(Bytes(raw, count));
  }

  MutableBytes into_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace hil
