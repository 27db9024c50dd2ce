// Which bytes of a transfer are there: everything below `cumulative`, and up to 8 ranges beyond it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hil {

struct Range {
  std::uint32_t start;
  std::uint32_t end;  // exclusive
};

class RangeSet {
 public:
  static constexpr std::size_t kMaxRanges = 8;
  enum class Insert : std::uint8_t { kNew, kDuplicate, kNoRoom };

  // Adds start..end (start < end). kDuplicate: nothing of it was missing. kNoRoom: a ninth range would be needed;
  // nothing changes.
  Insert insert(std::uint32_t start, std::uint32_t end);

  std::uint32_t cumulative() const { return cumulative_; }
  std::size_t count() const { return count_; }
  const Range& operator[](std::size_t index) const { return ranges_[index]; }
  // The end of the highest byte that is there, and the number of bytes that are.
  std::uint32_t highest() const { return count_ == 0 ? cumulative_ : ranges_[count_ - 1].end; }
  std::uint32_t total() const;
  // The first missing stretch at or after `from`, below `limit`; empty (start == end == limit) if there is none.
  Range gap(std::uint32_t from, std::uint32_t limit) const;

 private:
  std::uint32_t cumulative_ = 0;
  std::size_t count_ = 0;
  Range ranges_[kMaxRanges] = {};  // sorted, disjoint, not touching, above cumulative_
};

}  // namespace hil
