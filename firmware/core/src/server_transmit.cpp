// Frames are made when the line has room for them, so nothing but the one frame in progress is buffered.
#include "hil/pattern.h"
#include "hil/server.h"

namespace hil {

std::size_t Server::transmit(MutableBytes into) {
  if (rate_.due() && tx_at_ == tx_end_) rate_.change();
  std::size_t size = 0;
  const std::size_t largest = encoded_limit(tx_payload_);
  // what was made before a change of rate leaves before anything else is made
  while (size < into.size() && !(rate_.due() && tx_at_ == tx_end_)) {
    const MutableBytes room = into.from(size);
    if (tx_at_ < tx_end_) {
      const std::size_t left = tx_end_ - tx_at_;
      const std::size_t count = left < room.size() ? left : room.size();
      copy_bytes(room.data(), buffers_.tx_frame.part(tx_at_, count));
      tx_at_ += count;
      size += count;
    } else if (room.size() >= largest) {
      const std::size_t made = next_frame(room.data());
      if (made == 0) break;
      size += made;
    } else {
      tx_at_ = 0;
      tx_end_ = next_frame(buffers_.tx_frame.data());
      if (tx_end_ == 0) break;
    }
  }
  return size;
}

std::size_t Server::next_frame(std::uint8_t* into) {
  using Next = std::size_t (Server::*)(std::uint8_t*);
  static constexpr Next kInOrder[] = {&Server::next_notice, &Server::next_ack, &Server::next_answer, &Server::next_log,
                                      &Server::next_data,   &Server::next_pattern};
  for (const Next next : kInOrder) {
    const std::size_t size = (this->*next)(into);
    if (size != 0) {
      counters_.add(LinkCounter::kFramesSent);
      pad_due_ = pad_ != 0;
      return size;
    }
  }
  return next_pad(into);
}

// Delimiters without a frame between them say nothing, but they fill the packet in which a bridge keeps the last bytes.
std::size_t Server::next_pad(std::uint8_t* into) {
  if (!pad_due_) return 0;
  pad_due_ = false;
  std::memset(into, 0, pad_);
  return pad_;
}

std::size_t Server::next_pattern(std::uint8_t* into) {
  if (patterns_left_ == 0) return 0;
  --patterns_left_;
  std::uint8_t number[2];
  Writer(number).u16(pattern_number_);
  FrameEncoder frame(into, kind::kPattern, session_, pattern_number_);
  frame.put(number);
  Pattern pattern(pattern_number_++);
  for (std::size_t left = pattern_bytes_; left > 0;) {
    std::uint8_t piece[64];
    const std::size_t count = left < sizeof piece ? left : sizeof piece;
    for (std::size_t i = 0; i < count; ++i) piece[i] = pattern.next();
    frame.put(Bytes(piece, count));
    left -= count;
  }
  return frame.finish();
}

std::size_t Server::next_notice(std::uint8_t* into) {
  if (boot_due_) {
    boot_due_ = false;
    const BoardIdentity& identity = parts_.board.identity();
    std::uint8_t payload[5];
    Writer(payload).u32(identity.boot_id).u8(identity.reset_reason_code);
    FrameEncoder frame(into, kind::kBoot, 0, 0);
    frame.put(payload);
    return frame.finish();
  }
  if (notice_count_ == 0) return 0;
  const Notice notice = notices_[0];
  --notice_count_;
  for (std::size_t i = 0; i < notice_count_; ++i) notices_[i] = notices_[i + 1];
  std::uint8_t payload[3];
  Writer body(payload);
  body.u8(static_cast<std::uint8_t>(notice.status));
  if (notice.has_detail) body.u16(notice.detail);
  FrameEncoder frame(into, notice.kind, notice.session, notice.seq);
  frame.put(Bytes(payload, body.size()));
  return frame.finish();
}

std::size_t Server::next_ack(std::uint8_t* into) {
  Ack ack{};
  bool found = false;
  for (Transfer& transfer : transfers_) {
    if (found || !transfer.open() || !transfer.ack_due) continue;
    transfer.ack_due = false;
    transfer.write.unreported = 0;
    ack = ack_of(transfer, Status::kOk);
    found = true;
  }
  if (!found) {
    if (ack_count_ == 0) return 0;
    ack = acks_[0];
    --ack_count_;
    for (std::size_t i = 0; i < ack_count_; ++i) acks_[i] = acks_[i + 1];
  }
  std::uint8_t payload[kAckLimitBytes];
  Writer body(payload);
  write(body, ack);
  FrameEncoder frame(into, kind::kAck, session_, ack.transfer);
  frame.put(Bytes(payload, body.size()));
  return frame.finish();
}

std::size_t Server::next_answer(std::uint8_t* into) {
  const Answers::Answer* const answer = answers_.next_due();
  if (answer == nullptr) return 0;
  FrameEncoder frame(into, static_cast<std::uint8_t>(answer->kind + kind::kAnswer), session_, answer->seq);
  if (answer->state == Answers::Answer::State::kPending) {
    const std::uint8_t pending[1] = {static_cast<std::uint8_t>(Status::kPending)};
    frame.put(pending);
  } else {
    frame.put(answers_.payload(*answer));
    if (answer->kind == kind::kReset && stopping_ == Stopping::kAsked) stopping_ = Stopping::kAnswered;
    if (answer->kind == kind::kLine) rate_.answered();
  }
  return frame.finish();
}

std::size_t Server::next_log(std::uint8_t* into) {
  std::uint8_t payload[1 + LogQueue::kMaxText];
  const std::size_t size = logs_.pop(payload);
  if (size == 0) return 0;
  FrameEncoder frame(into, kind::kLog, 0, 0);
  frame.put(Bytes(payload, size));
  return frame.finish();
}

std::size_t Server::next_data(std::uint8_t* into) {
  // the oldest first: a host that has asked for several objects waits for them in this order
  Transfer* oldest = nullptr;
  for (Transfer& transfer : transfers_) {
    if (!transfer.reads()) continue;
    const auto age = static_cast<std::int16_t>(oldest == nullptr ? 0 : transfer.id - oldest->id);
    if (oldest != nullptr && age >= 0) continue;
    if (!transfer.read.has_next(pace_.chunk())) continue;
    oldest = &transfer;
  }
  if (oldest == nullptr) return 0;
  bool again = false;
  const Range range = oldest->read.next(pace_.chunk(), again);
  pace_.sent();
  counters_.add(again ? LinkCounter::kDataBytesResent : LinkCounter::kDataBytesSent, range.end - range.start);
  std::uint8_t head[kDataHeaderBytes];
  Writer(head).u16(oldest->id).u32(range.start);
  FrameEncoder frame(into, kind::kData, session_, oldest->id);
  frame.put(head);
  frame.put(oldest->read.bytes(range));
  return frame.finish();
}

}  // namespace hil
