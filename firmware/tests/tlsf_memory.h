// ESP-IDF's own allocator on memory of this computer, used as multi_heap.c uses it. Its source is public material that is at
// hand or not (HIL_TLSF), never part of this repository.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>

#include "hil/heap.h"
#include "tlsf_control.h"

extern "C" {
#include "tlsf.h"
}

namespace hil::test {

// The same as ModelMemory. Pointers are longer here than on a chip: the control structure's growth is added to the region. With
// them tlsf.c also lets the head of the last size class overlap the first block: no region may be as large as just below a
// power of two.
class TlsfMemory {
 public:
  explicit TlsfMemory(std::size_t bytes) : total_(bytes) {
    if (bytes == 0) return;
    const std::size_t region = (bytes + control_bytes(bytes, sizeof(void*)) - control_bytes(bytes, 4)) / 8 * 8;
    for (std::size_t power = 1; power <= 2 * bytes; power *= 2) {
      if (bytes < power && bytes > power - power / 16) std::abort();
    }
    bytes_ = std::make_unique<std::uint64_t[]>(region / 8);
    tlsf_ = tlsf_create_with_pool(bytes_.get(), region, 0);
    if (tlsf_ == nullptr) std::abort();
  }

  std::size_t total() const { return total_; }
  std::size_t left() const {
    std::size_t taken = 0;
    for (const auto& [pointer, size] : taken_) taken += size;
    return total_ - taken;
  }
  // heap_caps_get_largest_free_block, less what ChipHeap subtracts.
  std::size_t largest() const {
    if (tlsf_ == nullptr) return 0;
    std::size_t most = 0;
    tlsf_walk_pool(tlsf_get_pool(tlsf_), keep_largest, &most);
    const std::size_t block = tlsf_fit_size(tlsf_, most);
    return block > Heap::kOverhead ? block - Heap::kOverhead : 0;
  }
  MutableBytes take(std::size_t bytes) {
    if (bytes == 0 || tlsf_ == nullptr) return {};
    auto* const block = static_cast<std::uint8_t*>(tlsf_memalign(tlsf_, Heap::kAlignment, bytes));
    if (block == nullptr) return {};
    taken_[block] = tlsf_block_size(block);
    return MutableBytes(block, bytes);
  }
  bool give_back(MutableBytes block) {
    if (taken_.count(block.data()) == 0) return false;
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = 0xEE;  // who still reads it sees it
    tlsf_free(tlsf_, block.data());
    taken_.erase(block.data());
    return true;
  }

 private:
  static bool keep_largest(void*, std::size_t size, int used, void* most) {
    std::size_t& value = *static_cast<std::size_t*>(most);
    if (used == 0 && size > value) value = size;
    return true;
  }

  std::size_t total_;
  std::unique_ptr<std::uint64_t[]> bytes_;
  tlsf_t tlsf_ = nullptr;
  std::map<std::uint8_t*, std::size_t> taken_;
};

}  // namespace hil::test
