// DATA and ACK. docs/PROTOCOL.md, section 4.
#include "hil/crc32.h"
#include "hil/server.h"

namespace hil {

void Server::on_data(const Frame& frame) {
  const std::optional<Data> data = parse_data(frame.payload);
  if (!data) return fault(frame, Status::kBadRequest);
  take_data(*data);
}

void Server::take_data(const Data& data) {
  Transfer* const transfer = transfers_.find(data.transfer);
  if (transfer == nullptr || !transfer->writes()) {
    const Ack* const last = transfers_.finished(data.transfer);
    return send_ack(last != nullptr ? *last : Ack{data.transfer, Status::kBadTransfer, 0, config_.rx_window, 0, {}});
  }
  if (data.offset > transfer->length || data.bytes.size() > transfer->length - data.offset) {
    return send_ack(ack_of(*transfer, Status::kBadRange));
  }
  const std::uint32_t count = static_cast<std::uint32_t>(data.bytes.size());
  const std::uint32_t end = data.offset + count;
  counters_.add(LinkCounter::kDataBytesReceived, count);
  WriteTransfer& write = transfer->write;
  const RangeSet before = write.received;
  const RangeSet::Insert inserted =
      count == 0 ? RangeSet::Insert::kDuplicate : write.received.insert(data.offset, end);
  if (inserted != RangeSet::Insert::kNew) {
    counters_.add(
        inserted == RangeSet::Insert::kDuplicate ? LinkCounter::kDataBytesDuplicate : LinkCounter::kDataBytesDropped,
        count);
    transfer->ack_due = true;
    return;
  }
  Outcome outcome = success();
  for (Range part = before.gap(data.offset, end); outcome.ok() && part.start < part.end;
       part = before.gap(part.end, end)) {
    outcome = store(*transfer, data, part);
  }
  if (outcome.ok()) outcome = advance_crc(*transfer, data, before.cumulative());
  if (!outcome.ok()) return end_write(*transfer, outcome.status);
  if (write.received.cumulative() == transfer->length) {
    return end_write(*transfer, write.crc == write.crc_expected ? Status::kOk : Status::kCrcMismatch);
  }
  // headers count too: a window is a whole number of full frames, and the ACK comes with the one that fills the quarter
  write.unreported += count + static_cast<std::uint32_t>(kDataHeaderBytes);
  if (write.unreported >= config_.rx_window / 4 || write.received.count() != 0) transfer->ack_due = true;
}

MutableBytes Server::input_of(const Target& target) const {
  return slots_.tensor(target.slot, Role::kInput, target.index);
}

Outcome Server::store(Transfer& transfer, const Data& data, Range part) {
  const Bytes bytes = data.bytes.part(part.start - data.offset, part.end - part.start);
  if (transfer.target.object == Object::kGolden) return store_.write(part.start, bytes);
  if (transfer.target.object == Object::kModel) {
    return parts_.storage.write(static_cast<std::uint8_t>(transfer.target.index), part.start, bytes);
  }
  copy_bytes(input_of(transfer.target).data() + part.start, bytes);
  return success();
}

// The CRC runs along with the cumulative offset: over the chunk itself, then over what had come before its time.
Outcome Server::advance_crc(Transfer& transfer, const Data& data, std::uint32_t before) {
  WriteTransfer& write = transfer.write;
  const std::uint32_t now = write.received.cumulative();
  if (now == before) return success();
  const std::uint32_t in_chunk = data.offset + static_cast<std::uint32_t>(data.bytes.size());
  write.crc = crc32(data.bytes.part(before - data.offset, in_chunk - before), write.crc);
  if (transfer.target.object == Object::kInput) {
    write.crc = crc32(input_of(transfer.target).part(in_chunk, now - in_chunk), write.crc);
    return success();
  }
  for (std::uint32_t at = in_chunk; at < now;) {
    std::uint8_t raw[256];
    const MutableBytes piece = MutableBytes(raw).first(now - at < sizeof raw ? now - at : sizeof raw);
    Outcome outcome = transfer.target.object == Object::kGolden
                          ? store_.read(at, piece)
                          : parts_.storage.read(static_cast<std::uint8_t>(transfer.target.index), at, piece);
    if (!outcome.ok()) return outcome;
    write.crc = crc32(piece, write.crc);
    at += static_cast<std::uint32_t>(piece.size());
  }
  return success();
}

void Server::end_write(Transfer& transfer, Status status) {
  if (status == Status::kOk && transfer.target.object == Object::kModel) {
    status = parts_.storage.finish(static_cast<std::uint8_t>(transfer.target.index)).status;
  } else if (status == Status::kOk && transfer.target.object == Object::kGolden) {
    status = store_.finish().status;
  } else if (status == Status::kOk) {
    slots_.set_present(transfer.target.slot, transfer.target.index, true);
  }
  const Ack ack = ack_of(transfer, status);
  transfers_.remember(ack);
  send_ack(ack);
  if (status == Status::kOk) {
    transfer.direction = Transfer::Direction::kClosed;
  } else {
    close(transfer);
  }
}

void Server::close(Transfer& transfer) {
  if (transfer.writes() && transfer.target.object == Object::kModel) {
    parts_.storage.abort(static_cast<std::uint8_t>(transfer.target.index));
  }
  transfer.direction = Transfer::Direction::kClosed;
}

Ack Server::ack_of(const Transfer& transfer, Status status) const {
  const RangeSet& received = transfer.write.received;
  Ack ack{transfer.id, status, received.cumulative(), config_.rx_window, received.count(), {}};
  for (std::size_t i = 0; i < received.count(); ++i) ack.ranges[i] = received[i];
  return ack;
}

void Server::send_ack(const Ack& ack) {
  for (std::size_t i = 0; i < ack_count_; ++i) {
    if (acks_[i].transfer == ack.transfer) {
      acks_[i] = ack;
      return;
    }
  }
  // the host sends DATA again for what it heard nothing of, and then gets it
  if (ack_count_ < kMaxAcks) acks_[ack_count_++] = ack;
}

void Server::on_ack(const Frame& frame) {
  const std::optional<Ack> ack = parse_ack(frame.payload);
  if (!ack) return fault(frame, Status::kBadRequest);
  Transfer* const transfer = transfers_.find(ack->transfer);
  // a read that is over: this ACK crossed the one that ended it
  if (transfer == nullptr || !transfer->reads()) return;
  if (ack->status != Status::kOk && ack->status != Status::kGap) return close(*transfer);
  const std::uint32_t lost = transfer->read.acknowledge(*ack);
  if (lost != 0) pace_.lost(lost);
  if (transfer->read.done()) close(*transfer);
}

}  // namespace hil
