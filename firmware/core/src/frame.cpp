#include "hil/frame.h"

#include "hil/crc32.h"

namespace hil {

namespace {

// The CRC-32 of any bytes followed by their own CRC-32 (little-endian).
constexpr std::uint32_t kResidue = 0x2144DF1C;

// What surrounds the payload in a body.
constexpr std::size_t kAround = kHeaderBytes + kFrameCrcBytes;

constexpr bool is_kind(std::uint8_t byte) { return byte >= kKindMin && byte <= kKindMax; }

constexpr bool is_printable(std::uint8_t byte) {
  return (byte >= 0x20 && byte <= 0x7E) || byte == 0x09 || byte == 0x0A || byte == 0x0D || byte == 0x1B;
}

}  // namespace

void PrintableRuns::feed(Bytes bytes, FrameSink& sink) {
  std::size_t start = 0;  // of the open run's part in `bytes`
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (!is_printable(bytes[i])) {
      if (open_ && i > start) sink.on_text(bytes.part(start, i - start));
      end();
    } else if (!open_) {
      run_[held_++] = bytes[i];
      if (held_ == kShortest) {
        sink.on_text(run_);
        open_ = true;
        start = i + 1;
      }
    }
  }
  if (open_ && bytes.size() > start) sink.on_text(bytes.from(start));
}

void FrameDecoder::feed(Bytes bytes, FrameSink& sink) {
  while (!bytes.empty()) {
    const void* zero = std::memchr(bytes.data(), 0, bytes.size());
    if (zero == nullptr) {
      extend(bytes, sink);
      return;
    }
    const std::size_t piece = static_cast<std::size_t>(static_cast<const std::uint8_t*>(zero) - bytes.data());
    if (piece != 0) extend(bytes.first(piece), sink);
    end_segment(sink);
    bytes = bytes.from(piece + 1);
  }
}

void FrameDecoder::extend(Bytes piece, FrameSink& sink) {
  if (state_ == State::kEmpty) {
    buffer_[0] = piece[0];
    size_ = 1;
    state_ = State::kFirstByte;
    piece = piece.from(1);
    if (piece.empty()) return;
  }
  if (state_ == State::kFirstByte) {
    state_ = is_kind(piece[0]) ? State::kCandidate : State::kText;
    if (state_ == State::kText) sink.on_text(buffer_.first(1));
  }
  if (state_ == State::kText) {
    sink.on_text(piece);
  } else if (state_ == State::kCandidate) {
    extend_candidate(piece, sink);
  } else {
    size_ += piece.size();
    runs_.feed(piece, sink);
  }
}

void FrameDecoder::extend_candidate(Bytes piece, FrameSink& sink) {
  if (piece.size() <= buffer_.size() - size_) {
    copy_bytes(buffer_.data() + size_, piece);
  } else {
    // longer than any frame: its delimiter was lost, and the text in it is not held back any longer
    runs_.feed(buffer_.first(size_), sink);
    runs_.feed(piece, sink);
    state_ = State::kNoise;
  }
  size_ += piece.size();
}

void FrameDecoder::end_segment(FrameSink& sink) {
  if (state_ == State::kFirstByte) {
    sink.on_text(buffer_.first(1));
  } else if (state_ == State::kNoise) {
    sink.on_noise(size_);
  } else if (state_ == State::kCandidate && !deliver(sink)) {
    sink.on_noise(size_);
  }
  runs_.end();
  state_ = State::kEmpty;
  size_ = 0;
}

// All checks come before decoding in place, which would destroy the text that a damaged frame may hold.
bool FrameDecoder::deliver(FrameSink& sink) {
  const MutableBytes segment = buffer_.first(size_);
  const std::uint8_t zero[1] = {0};
  std::uint32_t crc = 0;
  std::size_t size = 0;
  const bool whole = cobs_blocks(segment, [&](Bytes run, bool zero_follows) {
    crc = crc32(run, crc);
    if (zero_follows) crc = crc32(zero, crc);
    size += run.size() + (zero_follows ? 1 : 0);
  });
  // the second byte is the kind unless the first block is empty: then the body begins with a zero
  const bool has_kind = segment[0] != 1;
  const bool has_size = size >= kAround && size - kAround <= max_payload_;
  if (!whole || crc != kResidue || !has_size || !has_kind || !cobs_decode(segment)) {
    runs_.feed(segment, sink);
    return false;
  }
  Reader body(segment.first(size - kFrameCrcBytes));
  const std::uint8_t kind = body.u8();
  const std::uint8_t session = body.u8();
  const std::uint16_t seq = body.u16();
  sink.on_frame(Frame{kind, session, seq, body.rest()});
  return true;
}

FrameEncoder::FrameEncoder(std::uint8_t* into, std::uint8_t kind, std::uint8_t session, std::uint16_t seq)
    : begin_(into), cobs_(into + 1) {
  *into = 0;
  const std::uint8_t header[kHeaderBytes] = {kind, session, static_cast<std::uint8_t>(seq),
                                             static_cast<std::uint8_t>(seq >> 8)};
  put(header);
}

void FrameEncoder::put(Bytes piece) {
  crc_ = crc32(piece, crc_);
  cobs_.put(piece);
}

std::size_t FrameEncoder::finish() {
  std::uint8_t crc[kFrameCrcBytes];
  Writer(crc).u32(crc_);
  cobs_.put(crc);
  const std::size_t stuffed = cobs_.finish();
  begin_[1 + stuffed] = 0;
  return stuffed + 2;
}

}  // namespace hil
