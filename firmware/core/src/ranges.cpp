#include "hil/ranges.h"

namespace hil {

RangeSet::Insert RangeSet::insert(std::uint32_t start, std::uint32_t end) {
  if (end <= cumulative_) return Insert::kDuplicate;
  if (start < cumulative_) start = cumulative_;
  // first .. last: the ranges that start..end overlaps or touches
  std::size_t first = 0;
  while (first < count_ && ranges_[first].end < start) ++first;
  std::size_t last = first;
  while (last < count_ && ranges_[last].start <= end) ++last;
  if (last == first + 1 && ranges_[first].start <= start && end <= ranges_[first].end) return Insert::kDuplicate;
  if (last > first) {
    if (ranges_[first].start < start) start = ranges_[first].start;
    if (ranges_[last - 1].end > end) end = ranges_[last - 1].end;
  }
  const bool joins = start <= cumulative_;
  const std::size_t kept = joins ? 0 : 1;
  if (count_ - (last - first) + kept > kMaxRanges) return Insert::kNoRoom;
  Range moved[kMaxRanges];
  const std::size_t behind = count_ - last;
  for (std::size_t i = 0; i < behind; ++i) moved[i] = ranges_[last + i];
  if (joins) {
    cumulative_ = end;
  } else {
    ranges_[first] = Range{start, end};
  }
  for (std::size_t i = 0; i < behind; ++i) ranges_[first + kept + i] = moved[i];
  count_ = first + kept + behind;
  return Insert::kNew;
}

std::uint32_t RangeSet::total() const {
  std::uint32_t sum = cumulative_;
  for (std::size_t i = 0; i < count_; ++i) sum += ranges_[i].end - ranges_[i].start;
  return sum;
}

Range RangeSet::gap(std::uint32_t from, std::uint32_t limit) const {
  if (from < cumulative_) from = cumulative_;
  for (std::size_t i = 0; i < count_ && from < limit; ++i) {
    if (from < ranges_[i].start) return Range{from, ranges_[i].start < limit ? ranges_[i].start : limit};
    if (from < ranges_[i].end) from = ranges_[i].end;
  }
  return from < limit ? Range{from, limit} : Range{limit, limit};
}

}  // namespace hil
