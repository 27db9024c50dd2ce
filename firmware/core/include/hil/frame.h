// Frames in a byte stream that also carries console text; docs/PROTOCOL.md, section 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hil/bytes.h"
#include "hil/cobs.h"

namespace hil {

constexpr std::uint8_t kKindMin = 0x80;
constexpr std::uint8_t kKindMax = 0xBF;
constexpr std::size_t kHeaderBytes = 4;
constexpr std::size_t kFrameCrcBytes = 4;
constexpr std::size_t kPayloadBeforeHello = 256;
constexpr std::size_t kMaxPayload = 0xFFFF;

// Most bytes between two delimiters for a payload of that size, and with both delimiters.
constexpr std::size_t stuffed_limit(std::size_t payload) { return cobs_limit(kHeaderBytes + payload + kFrameCrcBytes); }
constexpr std::size_t encoded_limit(std::size_t payload) { return stuffed_limit(payload) + 2; }

// An intact frame. The payload lives in the decoder's buffer until the sink's call returns.
struct Frame {
  std::uint8_t kind;
  std::uint8_t session;
  std::uint16_t seq;
  Bytes payload;
};

class FrameSink {
 public:
  virtual void on_frame(const Frame& frame) = 0;
  // Console bytes; a line may come in several pieces.
  virtual void on_text(Bytes text) = 0;
  // A segment of so many encoded bytes looked like a frame and was none; its printable runs came as text before.
  virtual void on_noise(std::size_t bytes) = 0;

 protected:
  ~FrameSink() = default;
};

// The printable runs of at least 8 bytes in a stream, whatever the pieces it comes in.
class PrintableRuns {
 public:
  void feed(Bytes bytes, FrameSink& sink);
  void end() { held_ = 0, open_ = false; }

 private:
  static constexpr std::size_t kShortest = 8;

  std::uint8_t run_[kShortest] = {};
  std::size_t held_ = 0;
  bool open_ = false;  // the run was long enough; what follows goes out as it comes
};

// Splits a stream into frames, text and noise; any way of cutting the stream into pieces gives the same.
class FrameDecoder {
 public:
  // `buffer` must hold stuffed_limit(max_payload) bytes.
  FrameDecoder(MutableBytes buffer, std::size_t max_payload)
      : buffer_(buffer.first(stuffed_limit(max_payload))), max_payload_(max_payload) {}

  void feed(Bytes bytes, FrameSink& sink);

 private:
  enum class State : std::uint8_t { kEmpty, kFirstByte, kCandidate, kText, kNoise };

  void extend(Bytes piece, FrameSink& sink);
  void extend_candidate(Bytes piece, FrameSink& sink);
  void end_segment(FrameSink& sink);
  bool deliver(FrameSink& sink);

  MutableBytes buffer_;
  std::size_t max_payload_;
  std::size_t size_ = 0;  // bytes of the segment; in kCandidate they are in buffer_
  State state_ = State::kEmpty;
  PrintableRuns runs_;
};

// Encodes one frame piece by piece, straight into its destination (encoded_limit(payload) bytes).
class FrameEncoder {
 public:
  FrameEncoder(std::uint8_t* into, std::uint8_t kind, std::uint8_t session, std::uint16_t seq);

  void put(Bytes piece);
  // Returns the number of bytes written, both delimiters included.
  std::size_t finish();

 private:
  std::uint8_t* begin_;
  CobsEncoder cobs_;
  std::uint32_t crc_ = 0;
};

}  // namespace hil
