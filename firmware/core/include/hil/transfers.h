// The open transfers: what has arrived of a write, what is still to be sent of a read. docs/PROTOCOL.md, section 4.
#pragma once

#include <cstdint>

#include "hil/bytes.h"
#include "hil/messages.h"
#include "hil/ranges.h"

namespace hil {

// Where the bytes of a transfer live.
struct Target {
  Object object = Object::kInfo;
  std::uint16_t index = 0;
  std::uint16_t slot = 0;

  bool operator==(const Target& other) const {
    return object == other.object && index == other.index && slot == other.slot;
  }
};

struct WriteTransfer {
  std::uint32_t crc_expected = 0;
  std::uint32_t crc = 0;         // of everything below received.cumulative()
  std::uint32_t unreported = 0;  // bytes that came since the last ACK
  RangeSet received;
};

// Which part of the source to send next, and when to send it again.
class ReadTransfer {
 public:
  ReadTransfer() = default;
  ReadTransfer(Bytes source, std::uint32_t credit)
      : source_(source), length_(static_cast<std::uint32_t>(source.size())), credit_(credit) {}

  // Takes what the host says it has. Returns the number of bytes that are to be sent again now and were not before.
  std::uint32_t acknowledge(const Ack& ack);
  // The next chunk of at most `limit` bytes, empty if the credit or the object is used up. `again`: it was sent before.
  Range next(std::uint32_t limit, bool& again);
  // Whether `next` would give a chunk.
  bool has_next(std::uint32_t limit) const;
  Bytes bytes(Range range) const { return source_.part(range.start, range.end - range.start); }
  bool done() const { return held_.cumulative() == length_; }

 private:
  std::uint32_t missing_bytes(std::uint32_t from, std::uint32_t to) const;

  Bytes source_;
  std::uint32_t length_ = 0;
  std::uint32_t credit_ = 0;
  RangeSet held_;                // by the host
  std::uint32_t fresh_ = 0;      // everything below was sent at least once
  std::uint32_t resend_at_ = 0;  // missing stretches in resend_at_ .. resend_end_ are to be sent again
  std::uint32_t resend_end_ = 0;
  std::uint32_t resend_mark_ =
      0;  // fresh_ when they were last sent again: an ACK beyond it proves that they were lost once more
};

struct Transfer {
  enum class Direction : std::uint8_t { kClosed, kWrite, kRead };

  Direction direction = Direction::kClosed;
  std::uint16_t id = 0;
  Target target;
  std::uint32_t length = 0;
  bool ack_due = false;
  WriteTransfer write;
  ReadTransfer read;

  bool open() const { return direction != Direction::kClosed; }
  bool reads() const { return direction == Direction::kRead; }
  bool writes() const { return direction == Direction::kWrite; }
};

// The chunk size of reads. On a line that loses b bytes in a million, chunks of n bytes with h bytes around them cost
// about h/n + b*n; that is least where as many bytes are lost as are spent on headers, and this is what it steers to.
class ChunkPace {
 public:
  static constexpr std::uint32_t kSmallest = 64;

  void reset(std::uint32_t largest) { largest_ = chunk_ = largest, balance_ = 0; }
  std::uint32_t chunk() const { return chunk_; }
  void sent() { change(kFrameOverhead); }
  void lost(std::uint32_t bytes) { change(-static_cast<std::int32_t>(bytes < kSpan ? bytes : kSpan)); }

 private:
  static constexpr std::int32_t kFrameOverhead = 20;
  static constexpr std::int32_t kSpan = 1280;

  void change(std::int32_t amount);

  std::uint32_t largest_ = kSmallest;
  std::uint32_t chunk_ = kSmallest;
  std::int32_t balance_ = 0;
};

class Transfers {
 public:
  static constexpr std::size_t kMaxOpen = 4;
  static constexpr std::size_t kFinished = 8;

  Transfer* find(std::uint16_t id);
  // A closed place to open a transfer in, or null.
  Transfer* vacant();
  // True if `matches(transfer)` holds for an open one.
  template <typename Matches>
  bool any(Matches matches) const {
    for (const Transfer& transfer : open_) {
      if (transfer.open() && matches(transfer)) return true;
    }
    return false;
  }
  Transfer* begin() { return open_; }
  Transfer* end() { return open_ + kMaxOpen; }

  // Remembers the last ACK of a write that is over, and gives it back for DATA that comes late.
  void remember(const Ack& last);
  const Ack* finished(std::uint16_t id) const;
  void forget_finished() { finished_count_ = 0; }

 private:
  Transfer open_[kMaxOpen];
  Ack finished_[kFinished] = {};
  std::size_t finished_count_ = 0;
};

}  // namespace hil
