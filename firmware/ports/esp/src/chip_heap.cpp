#include "hil_esp/chip_heap.h"

#include "esp_heap_caps.h"
#include "sdkconfig.h"

namespace hil::esp {
namespace {

constexpr std::uint32_t caps_of(Memory memory) {
  return MALLOC_CAP_8BIT | (memory == Memory::kPsram ? MALLOC_CAP_SPIRAM : MALLOC_CAP_INTERNAL);
}

}  // namespace

std::size_t ChipHeap::total(Memory memory) const { return heap_caps_get_total_size(caps_of(memory)); }

std::size_t ChipHeap::largest(Memory memory) const {
  const std::size_t block = heap_caps_get_largest_free_block(caps_of(memory));
  return block > kOverhead ? block - kOverhead : 0;
}

MutableBytes ChipHeap::take(Memory memory, std::size_t bytes) {
  if (bytes == 0 || total(memory) == 0) return {};
  auto* const block = static_cast<std::uint8_t*>(heap_caps_aligned_alloc(kAlignment, bytes, caps_of(memory)));
  return block == nullptr ? MutableBytes() : MutableBytes(block, bytes);
}

void ChipHeap::give_back(MutableBytes block) { heap_caps_free(block.data()); }

}  // namespace hil::esp

#if CONFIG_SPIRAM

// ESP-DL asks for MALLOC_CAP_SPIRAM wherever the image was built with PSRAM, and follows the null pointer that it gets on a
// module without. The linker (--wrap) leads those calls here.
extern "C" {

void* __real_heap_caps_malloc(std::size_t size, std::uint32_t caps);
void* __real_heap_caps_calloc(std::size_t count, std::size_t size, std::uint32_t caps);
void* __real_heap_caps_aligned_alloc(std::size_t alignment, std::size_t size, std::uint32_t caps);
void* __real_heap_caps_aligned_calloc(std::size_t alignment, std::size_t count, std::size_t size, std::uint32_t caps);

static std::uint32_t fitted(std::uint32_t caps) {
  if ((caps & MALLOC_CAP_SPIRAM) == 0 || heap_caps_get_total_size(MALLOC_CAP_SPIRAM) != 0) return caps;
  return (caps & ~static_cast<std::uint32_t>(MALLOC_CAP_SPIRAM)) | MALLOC_CAP_INTERNAL;
}

void* __wrap_heap_caps_malloc(std::size_t size, std::uint32_t caps) { return __real_heap_caps_malloc(size, fitted(caps)); }

void* __wrap_heap_caps_calloc(std::size_t count, std::size_t size, std::uint32_t caps) {
  return __real_heap_caps_calloc(count, size, fitted(caps));
}

void* __wrap_heap_caps_aligned_alloc(std::size_t alignment, std::size_t size, std::uint32_t caps) {
  return __real_heap_caps_aligned_alloc(alignment, size, fitted(caps));
}

void* __wrap_heap_caps_aligned_calloc(std::size_t alignment, std::size_t count, std::size_t size, std::uint32_t caps) {
  return __real_heap_caps_aligned_calloc(alignment, count, size, fitted(caps));
}

}  // extern "C"

#endif
