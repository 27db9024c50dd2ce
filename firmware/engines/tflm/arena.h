// TFLM's tensor arena: 16-byte aligned, in internal RAM or PSRAM, given back at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace hil::tflm {

enum class Memory : std::uint8_t { kInternal, kPsram };

class Arena {
 public:
  Arena() = default;
  Arena(std::size_t size, Memory memory);  // without memory if there is no such block: see `data`
  ~Arena() { release(); }
  Arena(Arena&& other) noexcept { *this = std::move(other); }
  Arena& operator=(Arena&& other) noexcept;

  // The largest arena that can be had there now, less what tasks and drivers may still want.
  static std::size_t largest(Memory memory);

  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }
  Memory memory() const { return memory_; }

 private:
  void release();

  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  Memory memory_ = Memory::kInternal;
};

}  // namespace hil::tflm
