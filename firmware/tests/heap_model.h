// A chip's heap on this computer: two memories, each a model of TLSF, or (HIL_TLSF) ESP-IDF's own.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>

#include "hil/heap.h"
#include "tlsf_control.h"
#if HIL_TLSF
#include "tlsf_memory.h"
#endif

namespace hil::test {

// Blocks with headers, good fit by size classes as in TLSF, neighbours joined.
class ModelMemory {
 public:
  static constexpr std::size_t kHeader = 8;

  explicit ModelMemory(std::size_t bytes) : total_(bytes), bytes_(std::make_unique<std::uint8_t[]>(bytes + Heap::kAlignment)) {
    if (bytes != 0) free_[0] = bytes - control_bytes(bytes, 4);
  }

  std::size_t total() const { return total_; }
  std::size_t left() const {
    std::size_t taken = 0;
    for (const auto& [offset, size] : taken_) taken += size;
    return total_ - taken;
  }
  // What `take` gives for certain: the class below the largest block, less header and alignment.
  std::size_t largest() const {
    std::size_t most = 0;
    for (const auto& [offset, size] : free_) most = size > most ? size : most;
    most = most / step(most) * step(most);
    constexpr std::size_t kOverhead = kHeader + Heap::kAlignment;
    return most > kOverhead ? (most - kOverhead) / Heap::kAlignment * Heap::kAlignment : 0;
  }
  MutableBytes take(std::size_t bytes) {
    if (bytes == 0) return {};
    std::size_t needed = (bytes + kHeader + Heap::kAlignment - 1) / Heap::kAlignment * Heap::kAlignment;
    const std::size_t sought = (needed + step(needed) - 1) / step(needed) * step(needed);
    for (auto block = free_.begin(); block != free_.end(); ++block) {
      const auto [offset, size] = *block;
      if (size < sought) continue;
      free_.erase(block);
      if (size > needed) free_[offset + needed] = size - needed;
      taken_[offset] = needed;
      std::uint8_t* const start = base() + offset;
      return MutableBytes(start, bytes);
    }
    return {};
  }
  bool give_back(MutableBytes block) {
    if (block.data() < base() || block.data() >= base() + total_) return false;
    const std::size_t offset = static_cast<std::size_t>(block.data() - base());
    const auto taken = taken_.find(offset);
    if (taken == taken_.end()) std::abort();  // given back twice
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = 0xEE;  // who still reads it sees it
    auto here = free_.emplace(offset, taken->second).first;
    taken_.erase(taken);
    if (const auto next = std::next(here); next != free_.end() && here->first + here->second == next->first) {
      here->second += next->second;
      free_.erase(next);
    }
    if (here != free_.begin()) {
      const auto before = std::prev(here);
      if (before->first + before->second == here->first) {
        before->second += here->second;
        free_.erase(here);
      }
    }
    return true;
  }

 private:
  std::size_t step(std::size_t bytes) const {
    const std::size_t classes = size_classes(total_);
    std::size_t power = 1;
    while (power <= bytes / 2) power *= 2;
    return power / classes > 0 ? power / classes : 1;
  }
  std::uint8_t* base() const {
    const std::size_t off = reinterpret_cast<std::uintptr_t>(bytes_.get()) % Heap::kAlignment;
    return bytes_.get() + (off == 0 ? 0 : Heap::kAlignment - off);
  }

  std::size_t total_;
  std::unique_ptr<std::uint8_t[]> bytes_;
  std::map<std::size_t, std::size_t> free_;
  std::map<std::size_t, std::size_t> taken_;
};

template <typename Kind>
class HeapOf final : public Heap {
 public:
  HeapOf(std::size_t psram, std::size_t internal) : psram_(psram), internal_(internal) {}

  std::size_t total(Memory memory) const override { return of(memory).total(); }
  std::size_t largest(Memory memory) const override { return of(memory).largest(); }
  MutableBytes take(Memory memory, std::size_t bytes) override { return refusing ? MutableBytes() : of(memory).take(bytes); }
  void give_back(MutableBytes block) override {
    if (!psram_.give_back(block) && !internal_.give_back(block)) std::abort();
  }
  std::size_t left() const { return psram_.left() + internal_.left(); }
  std::size_t left(Memory memory) const { return of(memory).left(); }

  bool refusing = false;

 private:
  const Kind& of(Memory memory) const { return memory == Memory::kPsram ? psram_ : internal_; }
  Kind& of(Memory memory) { return memory == Memory::kPsram ? psram_ : internal_; }

  Kind psram_;
  Kind internal_;
};

#if HIL_TLSF
using ModelHeap = HeapOf<TlsfMemory>;
#else
using ModelHeap = HeapOf<ModelMemory>;
#endif

}  // namespace hil::test
