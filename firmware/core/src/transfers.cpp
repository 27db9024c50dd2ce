#include "hil/transfers.h"

namespace hil {

std::uint32_t ReadTransfer::missing_bytes(std::uint32_t from, std::uint32_t to) const {
  std::uint32_t missing = 0;
  for (Range gap = held_.gap(from, to); gap.start < gap.end; gap = held_.gap(gap.end, to)) {
    missing += gap.end - gap.start;
  }
  return missing;
}

std::uint32_t ReadTransfer::acknowledge(const Ack& ack) {
  credit_ = ack.credit;
  // a host cannot have what was never sent; such a claim is cut to what was
  if (ack.cumulative > 0 && ack.cumulative <= fresh_) (void)held_.insert(0, ack.cumulative);
  for (std::size_t i = 0; i < ack.range_count; ++i) {
    if (ack.ranges[i].end <= fresh_) (void)held_.insert(ack.ranges[i].start, ack.ranges[i].end);
  }
  const bool all_lost = ack.status == Status::kGap;
  const std::uint32_t end = all_lost ? fresh_ : held_.highest();
  if (all_lost || end > resend_mark_) {
    const std::uint32_t missing = missing_bytes(0, end);
    if (missing == 0) return 0;
    resend_at_ = 0;
    resend_end_ = end;
    resend_mark_ = fresh_;
    return missing;
  }
  if (end > resend_end_) {
    const std::uint32_t missing = missing_bytes(resend_end_, end);
    resend_end_ = end;
    return missing;
  }
  return 0;
}

Range ReadTransfer::next(std::uint32_t limit, bool& again) {
  Range gap = held_.gap(resend_at_, resend_end_);
  again = gap.start < gap.end;
  if (again) {
    if (gap.end - gap.start > limit) gap.end = gap.start + limit;
    resend_at_ = gap.end;
    return gap;
  }
  const std::uint32_t in_flight = fresh_ - held_.total();
  const std::uint32_t allowed = credit_ > in_flight ? credit_ - in_flight : 0;
  std::uint32_t count = length_ - fresh_;
  if (count > limit) count = limit;
  // no slivers at the end of the credit: wait for the rest of the chunk
  if (count > allowed && in_flight != 0) return Range{fresh_, fresh_};
  if (count > allowed) count = allowed;
  const Range range{fresh_, fresh_ + count};
  fresh_ = range.end;
  return range;
}

bool ReadTransfer::has_next(std::uint32_t limit) const {
  ReadTransfer trial = *this;
  bool again = false;
  const Range range = trial.next(limit, again);
  return range.start < range.end;
}

void ChunkPace::change(std::int32_t amount) {
  balance_ += amount;
  if (balance_ >= kSpan) {
    chunk_ += chunk_ / 4;
    balance_ = 0;
  } else if (balance_ <= -kSpan) {
    chunk_ -= chunk_ / 4;
    balance_ = 0;
  }
  if (chunk_ < kSmallest) chunk_ = kSmallest;
  if (chunk_ > largest_) chunk_ = largest_;
}

Transfer* Transfers::find(std::uint16_t id) {
  for (Transfer& transfer : open_) {
    if (transfer.open() && transfer.id == id) return &transfer;
  }
  return nullptr;
}

Transfer* Transfers::vacant() {
  for (Transfer& transfer : open_) {
    if (!transfer.open()) return &transfer;
  }
  return nullptr;
}

void Transfers::remember(const Ack& last) {
  finished_[finished_count_ % kFinished] = last;
  ++finished_count_;
}

const Ack* Transfers::finished(std::uint16_t id) const {
  const std::size_t count = finished_count_ < kFinished ? finished_count_ : kFinished;
  // the newest first: numbers come round again
  for (std::size_t i = 1; i <= count; ++i) {
    const Ack& ack = finished_[(finished_count_ - i) % kFinished];
    if (ack.transfer == id) return &ack;
  }
  return nullptr;
}

}  // namespace hil
