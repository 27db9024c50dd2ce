#include "hil/server.h"

namespace hil {

const char* Server::problem(const Config& config, const Buffers& buffers, const Parts& parts) {
  if (config.max_payload < kPayloadBeforeHello) return "max_payload is below 256";
  if (config.rx_window < config.max_payload) return "rx_window is below max_payload";
  if (config.max_slots == 0 || config.max_slots > Slots::kMaxSlots) return "max_slots is not in 1..16";
  if (buffers.rx_frame.size() < stuffed_limit(config.max_payload)) return "rx_frame is too small for max_payload";
  if (buffers.tx_frame.size() < encoded_limit(config.max_payload)) return "tx_frame is too small for max_payload";
  if (reinterpret_cast<std::uintptr_t>(buffers.slots.data()) % Slots::kAlignment != 0) return "slots is not aligned";
  if (buffers.answers.size() / Answers::kRemembered < 64) return "answers is below 16 x 64 bytes";
  if (buffers.info.size() < 1024) return "info is below 1024 bytes";
  if (buffers.counters.size() < 512) return "counters is below 512 bytes";
  if (buffers.profile.size() < 64) return "profile is below 64 bytes";
  if (buffers.cycles.empty() || buffers.cycles.size() > 0xFFFF) return "cycles does not hold 1..65535 values";
  if (buffers.scratch.size() < 64) return "scratch is below 64 bytes";
  if (buffers.log.size() < 2 + LogQueue::kMaxText) return "log is below 202 bytes";
  if (!buffers.unpacked.empty() && buffers.unpacked.size() < config.max_payload) return "unpacked is below max_payload";
  if (parts.engine.counter_count() > kMaxEngineCounters) return "the engine has more than 32 counters";
  return nullptr;
}

Server::Server(const Config& config, const Buffers& buffers, const Parts& parts)
    : config_(config),
      buffers_(buffers),
      parts_(parts),
      answers_(buffers.answers),
      rooms_(parts.heap != nullptr ? Rooms(*parts.heap, config.rooms) : Rooms(buffers.slots, buffers.captured)),
      slots_(config.max_slots),
      work_(parts.engine, parts.clock, parts.storage, store_, slots_,
            WorkBuffers{buffers.cycles, buffers.captured, buffers.profile, buffers.scratch}, parts.gate),
      store_(parts.golden),
      rate_(parts.rate),
      decoder_(buffers.rx_frame, config.max_payload),
      logs_(buffers.log) {}

void Server::receive(Bytes bytes) {
  const std::uint64_t frames = counters_.counter_value(static_cast<std::size_t>(LinkCounter::kFramesReceived));
  decoder_.feed(bytes, *this);
  if (frames == counters_.counter_value(static_cast<std::size_t>(LinkCounter::kFramesReceived))) rate_.heard_noise();
  poll();
}

void Server::poll() {
  advance_work();
  rate_.poll();
  if (stopping_ == Stopping::kAnswered && tx_at_ == tx_end_) {
    stopping_ = Stopping::kDone;
    parts_.board.reset(reset_mode_);
  }
}

void Server::advance_work() {
  // an inline executor has finished when submit returns, so one pass may end several jobs
  while (true) {
    if (working_ && work_.finished()) end_work();
    if (working_ || orders_.empty()) return;
    begin_work(orders_.pop());
  }
}

void Server::log(std::uint8_t level, std::string_view text) {
  if (!logs_.push(level, text)) counters_.add(LinkCounter::kLogsDropped);
}

void Server::on_noise(std::size_t bytes) {
  ++pattern_noise_;
  counters_.add(LinkCounter::kNoiseSegments);
  counters_.add(LinkCounter::kNoiseBytes, bytes);
}

void Server::on_frame(const Frame& frame) {
  counters_.add(LinkCounter::kFramesReceived);
  rate_.heard_frame();
  if (frame.kind == kind::kHello) {
    on_hello(frame);
  } else if (session_ == 0 || frame.session != session_) {
    fault(frame, Status::kNoSession);
  } else if (frame.kind <= kind::kLastRequest) {
    on_request(frame);
  } else if (frame.kind == kind::kData) {
    on_data(frame);
  } else if (frame.kind == kind::kPacked && !buffers_.unpacked.empty()) {
    on_packed(frame);
  } else if (frame.kind == kind::kPattern) {
    on_pattern(frame);
  } else if (frame.kind == kind::kAck) {
    on_ack(frame);
  } else {
    fault(frame, Status::kUnknownKind);
  }
  advance_work();
}

void Server::on_request(const Frame& frame) {
  if (frame.seq == expected_) {
    if (answers_.vacant(frame.seq)) {
      execute(frame);
    } else {
      fault(frame, Status::kBusy);
    }
    return;
  }
  Answers::Answer* const answer = answers_.find(frame.seq);
  if (answer != nullptr) {
    counters_.add(LinkCounter::kRepeatedRequests);
    answers_.make_due(*answer);
  } else {
    counters_.add(LinkCounter::kGaps);
    fault_gap(frame);
  }
}

void Server::on_hello(const Frame& frame) {
  const std::optional<Hello> hello = parse_hello(frame.payload);
  const auto refuse = [&](Status status) {
    notify(Notice{kind::kHello + kind::kAnswer, frame.session, frame.seq, status, false, 0});
  };
  if (!hello || frame.session == 0 || hello->max_payload < kPayloadBeforeHello) return refuse(Status::kBadRequest);
  if (hello->version_min > kProtocolVersion || hello->version_max < kProtocolVersion) {
    return refuse(Status::kBadVersion);
  }
  if (stopping_ != Stopping::kNo) return refuse(Status::kStopping);
  if (frame.session == session_ && frame.seq == hello_seq_ && hello->nonce == nonce_) {
    counters_.add(LinkCounter::kRepeatedRequests);
    // a host that has sent 16 requests since then has the answer already
    if (Answers::Answer* const answer = answers_.find(frame.seq)) answers_.make_due(*answer);
    return;
  }
  begin_session(frame, *hello);
}

void Server::begin_session(const Frame& frame, const Hello& hello) {
  for (Transfer& transfer : transfers_) close(transfer);
  transfers_.forget_finished();
  for (const Order& order : orders_) {
    if (order.runs()) slots_.set_used(order.slot, false);
  }
  orders_.clear();
  if (working_) work_.order().forgotten = true;
  ack_count_ = 0;
  notice_count_ = 0;
  pad_ = 0;
  patterns_left_ = 0;
  golden_ = Golden::kNone;
  gate_chosen_ = false;
  session_ = frame.session;
  hello_seq_ = frame.seq;
  nonce_ = hello.nonce;
  expected_ = static_cast<std::uint16_t>(frame.seq + 1);
  tx_payload_ = hello.max_payload < config_.max_payload ? hello.max_payload : config_.max_payload;
  pace_.reset(static_cast<std::uint32_t>(tx_payload_ - kDataHeaderBytes));
  answers_.clear();
  Answers::Answer& answer = answers_.begin(frame.seq, frame.kind);
  Writer body(answers_.memory(answer));
  body.u8(0);
  const std::uint8_t flags = static_cast<std::uint8_t>(
      (loaded_ ? HelloAnswer::kLoaded : 0) | (working_ ? HelloAnswer::kRunning : 0) | HelloAnswer::kLine |
      (store_.exists() ? HelloAnswer::kGolden : 0) | (buffers_.unpacked.empty() ? 0 : HelloAnswer::kPacked) |
      (parts_.gate == nullptr ? 0 : HelloAnswer::kGate));
  write(body, HelloAnswer{kProtocolVersion, parts_.board.identity().boot_id, config_.max_payload, config_.rx_window,
                          static_cast<std::uint8_t>(slots_.count()), OrderQueue::kCapacity, flags});
  answers_.ready(answer, body.size());
}

void Server::execute(const Frame& frame) {
  static constexpr Handler kHandlers[] = {nullptr,      &Server::open_write, &Server::open_read, &Server::load,
                                          &Server::run, &Server::cancel,     &Server::reset,     &Server::ping,
                                          &Server::line, &Server::prbs,      &Server::golden,    &Server::gate};
  const std::size_t index = frame.kind - kind::kHello;
  Answers::Answer& answer = answers_.begin(frame.seq, frame.kind);
  ++expected_;
  Writer body(answers_.memory(answer).first(answer_limit()));
  body.u8(0);
  Outcome outcome;
  if (stopping_ != Stopping::kNo) {
    outcome = failure(Status::kStopping, "the device is about to restart");
  } else if (index < sizeof kHandlers / sizeof kHandlers[0]) {
    outcome = (this->*kHandlers[index])(frame, body);
  } else {
    outcome = failure(Status::kUnknownKind, "this firmware does not know the request");
  }
  if (outcome.status != Status::kPending) settle(answer, outcome, body.size());
}

void Server::settle(Answers::Answer& answer, const Outcome& outcome, std::size_t size) {
  if (!outcome.ok()) {
    const MutableBytes memory = answers_.memory(answer).first(answer_limit());
    const std::string_view text = outcome.text.view();
    Writer body(memory);
    body.u8(static_cast<std::uint8_t>(outcome.status));
    body.bytes(as_bytes(cut_text(text, memory.size() - 1)));
    size = body.size();
  }
  answers_.ready(answer, size);
}

std::size_t Server::answer_limit() const {
  return answers_.capacity() < tx_payload_ ? answers_.capacity() : tx_payload_;
}

void Server::notify(const Notice& notice) {
  // when the host sends so much that is refused, it need not hear of each: its time-outs repair
  if (notice_count_ < kMaxNotices) notices_[notice_count_++] = notice;
}

void Server::fault(const Frame& frame, Status status) {
  notify(Notice{kind::kFault, frame.session, frame.seq, status, false, 0});
}

void Server::fault_gap(const Frame& frame) {
  notify(Notice{kind::kFault, frame.session, frame.seq, Status::kGap, true, expected_});
}

void Server::begin_work(const Order& order) {
  sample_engine();
  work_.prepare(order);
  if (order.has(Run::kCapture)) work_.capture_into(rooms_.take_capture());
  if (order.runs()) {
    work_.order().cold = cold_;
    counters_.add(LinkCounter::kRuns);
  }
  working_ = true;
  parts_.executor.submit(work_);
}

void Server::end_work() {
  working_ = false;
  const Order& order = work_.order();
  const WorkResult& result = work_.result();
  Outcome outcome = result.outcome;
  if (order.runs()) {
    end_run(result, order);
  } else if (order.kind == Order::Kind::kSelect) {
    end_select(result, order, outcome);
  } else {
    if (outcome.ok()) outcome = lay_out_slots();
    if (outcome.ok()) {
      end_load(result);
    } else {
      parts_.engine.unload();
    }
  }
  if (order.forgotten) return;
  Answers::Answer* const answer = answers_.find(order.seq);
  if (answer != nullptr) answer_work(result, order, outcome, *answer);
}

void Server::answer_work(const WorkResult& result, const Order& order, const Outcome& outcome,
                         Answers::Answer& answer) {
  if (!outcome.ok()) return settle(answer, outcome, 0);
  if (order.runs()) return answer_run(order, result, answer);
  Writer body(answers_.memory(answer));
  body.u8(0);
  if (order.kind == Order::Kind::kSelect) {
    body.u8(result.found ? 1 : 0);
  } else {
    body.u32(generation_).u8(static_cast<std::uint8_t>(slots_.count()));
  }
  answers_.ready(answer, body.size());
}

Outcome Server::lay_out_slots() {
  Outcome outcome = slots_.measure(parts_.engine);
  MutableBytes arena;
  if (outcome.ok()) outcome = rooms_.take_slots(slots_.set_bytes(), config_.max_slots, arena);
  if (outcome.ok()) slots_.place(arena);
  return outcome;
}

void Server::end_load(const WorkResult& result) {
  loaded_ = true;
  cold_ = true;
  ++generation_;
  location_ = work_.order().location;
  model_bytes_ = result.model_bytes;
  model_sha256_ = result.model_sha256;
}

void Server::end_run(const WorkResult& result, const Order& order) {
  slots_.set_used(order.slot, false);
  slots_.set_has_outputs(order.slot, result.outcome.ok());
  if (order.has(Run::kGolden)) {
    // a record that could not be read may have changed some of the slot's inputs
    for (std::size_t i = 0; i < slots_.tensor_count(Role::kInput); ++i) {
      slots_.set_present(order.slot, i, result.outcome.ok());
    }
  }
  if (result.cold) cold_ = false;
  const std::size_t kept = order.repeats < buffers_.cycles.size() ? order.repeats : buffers_.cycles.size();
  cycles_count_ = result.outcome.ok() ? kept : 0;
  if (order.has(Run::kCapture)) captured_bytes_ = result.captured_bytes;
  if (order.has(Run::kProfile)) profile_bytes_ = result.profile_bytes;
}

void Server::answer_run(const Order& order, const WorkResult& result, Answers::Answer& answer) {
  Writer body(answers_.memory(answer).first(answer_limit()));
  body.u8(0);
  write(body, RunAnswer{result.cold.value_or(0), result.last, order.repeats});
  const std::size_t bytes = slots_.total_bytes(Role::kOutput);
  if (order.has(Run::kGate)) body.u64(result.window);
  if (order.has(Run::kExpect)) body.u8(result.as_expected ? 1 : 0);
  const bool wanted = order.has(Run::kInlineOutputs) && !(order.has(Run::kExpect) && result.as_expected);
  if (wanted && bytes <= answer_limit() - body.size()) {
    for (std::size_t i = 0; i < slots_.tensor_count(Role::kOutput); ++i) {
      body.bytes(slots_.tensor(order.slot, Role::kOutput, i));
    }
  }
  answers_.ready(answer, body.size());
}

}  // namespace hil
