// The answers to the last 16 requests, so that a repeated request is answered and not executed again.
#pragma once

#include <cstdint>

#include "hil/bytes.h"
#include "hil/status.h"

namespace hil {

class Answers {
 public:
  static constexpr std::size_t kRemembered = 16;

  struct Answer {
    enum class State : std::uint8_t { kNone, kPending, kReady };
    State state = State::kNone;
    bool due = false;       // waits in the queue to be sent; a pending one as a notice
    std::uint8_t kind = 0;  // of the request
    std::uint16_t seq = 0;
    std::uint32_t size = 0;
  };

  // `memory` is divided evenly; each answer's payload must fit its share.
  explicit Answers(MutableBytes memory) : memory_(memory), capacity_(memory.size() / kRemembered) {}

  std::size_t capacity() const { return capacity_; }
  void clear();

  // The answer to `seq` if it is one of the last 16, else null.
  Answer* find(std::uint16_t seq);
  // Whether `seq` can begin: the answer in its place is not pending.
  bool vacant(std::uint16_t seq) const { return place(seq).state != Answer::State::kPending; }
  Answer& begin(std::uint16_t seq, std::uint8_t kind);
  // Where to write the payload of an answer, status first; ready() then says how long it became.
  MutableBytes memory(const Answer& answer) const;
  void ready(Answer& answer, std::size_t size);
  void make_due(Answer& answer);
  // The next one to be sent, or null.
  Answer* next_due();
  Bytes payload(const Answer& answer) const { return memory(answer).first(answer.size); }

 private:
  Answer& place(std::uint16_t seq) { return answers_[seq % kRemembered]; }
  const Answer& place(std::uint16_t seq) const { return answers_[seq % kRemembered]; }

  MutableBytes memory_;
  std::size_t capacity_;
  Answer answers_[kRemembered];
  std::uint8_t queue_[kRemembered] = {};  // places that are due, oldest first
  std::size_t queued_ = 0;
};

}  // namespace hil
