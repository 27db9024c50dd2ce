// What a decoder makes of a stream, in the notation of tests/vectors/wire.jsonl.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "hil/frame.h"

namespace hil::test {

using ByteVector = std::vector<std::uint8_t>;

inline Bytes view(const ByteVector& bytes) { return Bytes(bytes.data(), bytes.size()); }
inline ByteVector copy(Bytes bytes) { return ByteVector(bytes.begin(), bytes.end()); }

inline std::string to_hex(Bytes bytes) {
  std::string hex;
  for (const std::uint8_t byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    hex += digits;
  }
  return hex;
}

inline ByteVector from_hex(const std::string& hex) {
  ByteVector bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

class Notation final : public FrameSink {
 public:
  void on_frame(const Frame& frame) override {
    char head[16];
    std::snprintf(head, sizeof head, "F%02x%02x%04x", frame.kind, frame.session, frame.seq);
    add(head + to_hex(frame.payload));
    in_text_ = false;
  }
  void on_text(Bytes text) override {
    if (in_text_) {
      events += to_hex(text);
    } else {
      add("T" + to_hex(text));
    }
    in_text_ = true;
  }
  void on_noise(std::size_t bytes) override {
    add("N" + std::to_string(bytes));
    in_text_ = false;
  }

  std::string events;

 private:
  void add(const std::string& event) { events += (events.empty() ? "" : " ") + event; }

  bool in_text_ = false;
};

// Decodes `stream` in pieces of `step` bytes.
inline std::string decode(Bytes stream, std::size_t max_payload, std::size_t step) {
  ByteVector buffer(stuffed_limit(max_payload));
  FrameDecoder decoder(MutableBytes(buffer.data(), buffer.size()), max_payload);
  Notation notation;
  for (std::size_t at = 0; at < stream.size(); at += step) {
    const std::size_t count = stream.size() - at < step ? stream.size() - at : step;
    decoder.feed(stream.part(at, count), notation);
  }
  return notation.events;
}

inline ByteVector encode(std::uint8_t kind, std::uint8_t session, std::uint16_t seq, Bytes payload) {
  ByteVector out(encoded_limit(payload.size()));
  FrameEncoder frame(out.data(), kind, session, seq);
  frame.put(payload);
  out.resize(frame.finish());
  return out;
}

}  // namespace hil::test
