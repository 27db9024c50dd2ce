#include "hil/answers.h"

namespace hil {

void Answers::clear() {
  for (Answer& answer : answers_) answer = Answer{};
  queued_ = 0;
}

Answers::Answer* Answers::find(std::uint16_t seq) {
  Answer& answer = place(seq);
  return answer.state != Answer::State::kNone && answer.seq == seq ? &answer : nullptr;
}

Answers::Answer& Answers::begin(std::uint16_t seq, std::uint8_t kind) {
  Answer& answer = place(seq);
  // the answer that is replaced may still wait to be sent: the host that asks for 16 more does not need it
  const bool was_due = answer.due;
  answer = Answer{Answer::State::kPending, was_due, kind, seq, 0};
  return answer;
}

MutableBytes Answers::memory(const Answer& answer) const {
  return memory_.part(answer.seq % kRemembered * capacity_, capacity_);
}

void Answers::ready(Answer& answer, std::size_t size) {
  answer.state = Answer::State::kReady;
  answer.size = static_cast<std::uint32_t>(size);
  make_due(answer);
}

void Answers::make_due(Answer& answer) {
  if (answer.due) return;
  answer.due = true;
  queue_[queued_++] = static_cast<std::uint8_t>(answer.seq % kRemembered);
}

Answers::Answer* Answers::next_due() {
  if (queued_ == 0) return nullptr;
  Answer& answer = answers_[queue_[0]];
  --queued_;
  for (std::size_t i = 0; i < queued_; ++i) queue_[i] = queue_[i + 1];
  answer.due = false;
  return &answer;
}

}  // namespace hil
