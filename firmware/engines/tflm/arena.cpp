#include "arena.h"

#include "esp_heap_caps.h"

namespace hil::tflm {
namespace {

constexpr std::size_t kAlignment = 16;
constexpr std::size_t kReserved = 16 * 1024;

std::uint32_t caps_of(Memory memory) {
  return MALLOC_CAP_8BIT | (memory == Memory::kPsram ? MALLOC_CAP_SPIRAM : MALLOC_CAP_INTERNAL);
}

}  // namespace

Arena::Arena(std::size_t size, Memory memory)
    : data_(static_cast<std::uint8_t*>(heap_caps_aligned_alloc(kAlignment, size, caps_of(memory)))),
      size_(data_ == nullptr ? 0 : size),
      memory_(memory) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(memory_, other.memory_);
  return *this;
}

std::size_t Arena::largest(Memory memory) {
  const std::size_t block = heap_caps_get_largest_free_block(caps_of(memory));
  return block > kReserved ? (block - kReserved) / kAlignment * kAlignment : 0;
}

void Arena::release() {
  heap_caps_free(data_);
  data_ = nullptr;
  size_ = 0;
}

}  // namespace hil::tflm
