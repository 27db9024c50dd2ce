#include "hil/lasting.h"

namespace hil {

namespace {

constexpr std::size_t kAnswersBytes = 16 * 256;
constexpr std::size_t kCountersBytes = 1024;
constexpr std::size_t kLogBytes = 1024;
constexpr std::size_t kLeastInfoBytes = 4096;
constexpr std::size_t kLeastProfileBytes = 8192;

constexpr std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

}  // namespace

const char* take_lasting(Heap& heap, const LastingSizes& sizes, Buffers& buffers) {
  const struct {
    MutableBytes& into;
    std::size_t wanted;
    std::size_t least;
    const char* without;
  } blocks[] = {
      {buffers.answers, kAnswersBytes, kAnswersBytes, "no memory for answers"},
      {buffers.info, sizes.info, smaller(sizes.info, kLeastInfoBytes), "no memory for INFO"},
      {buffers.counters, kCountersBytes, kCountersBytes, "no memory for counters"},
      {buffers.profile, sizes.profile, smaller(sizes.profile, kLeastProfileBytes), "no memory for the profile"},
      {buffers.log, kLogBytes, kLogBytes, "no memory for log lines"},
      {buffers.unpacked, sizes.unpacked, sizes.unpacked, "no memory for unpacked frames"},
  };
  for (const auto& block : blocks) {
    block.into = take_lasting(heap, block.wanted, block.least);
    if (block.into.empty()) return block.without;
  }
  return nullptr;
}

MutableBytes take_lasting(Heap& heap, std::size_t wanted, std::size_t least) {
  MutableBytes block = heap.total(Memory::kPsram) == 0 ? MutableBytes() : heap.take(Memory::kPsram, wanted);
  for (const Memory memory : {Memory::kInternal, Memory::kPsram}) {
    if (block.empty()) block = heap.take(memory, least);
  }
  return block;
}

MutableBytes hold_largest(Heap& heap, std::size_t lasting) {
  const MutableBytes block = heap.take(Memory::kInternal, heap.largest(Memory::kInternal));
  if (block.empty() || heap.largest(Memory::kInternal) >= lasting) return block;
  heap.give_back(block);
  return {};
}

}  // namespace hil
