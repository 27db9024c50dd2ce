// The rate of the line and its test, packed frames, golden sets, the gate. docs/PROTOCOL.md, sections 3, 7 and 8.
#include "hil/inflate.h"
#include "hil/pattern.h"
#include "hil/server.h"

namespace hil {

namespace {

Outcome unreadable() { return failure(Status::kBadRequest, "the payload does not parse"); }

}  // namespace

Outcome Server::line(const Frame& frame, Writer& body) {
  const std::optional<Line> line = parse_line(frame.payload);
  if (!line) return unreadable();
  Outcome outcome = rate_.ask(line->baud, line->trial_ms);
  if (!outcome.ok()) return outcome;
  pad_ = line->pad;
  body.u32(rate_.coming());
  return outcome;
}

Outcome Server::prbs(const Frame& frame, Writer& body) {
  const std::optional<Prbs> prbs = parse_prbs(frame.payload);
  if (!prbs) return unreadable();
  if (prbs->bytes > tx_payload_ - sizeof(std::uint16_t)) {
    return failure(Status::kTooLarge, "a frame does not hold that many bytes");
  }
  if (prbs->frames > kMaxPatterns) return failure(Status::kTooLarge, "at most 256 frames at a time");
  body.u32(patterns_received_).u32(patterns_wrong_).u32(pattern_noise_);
  patterns_received_ = patterns_wrong_ = pattern_noise_ = 0;
  patterns_left_ = prbs->frames;
  pattern_bytes_ = prbs->bytes;
  pattern_number_ = 0;
  return success();
}

void Server::on_pattern(const Frame& frame) {
  const std::optional<PatternFrame> received = parse_pattern(frame.payload);
  if (!received) return fault(frame, Status::kBadRequest);
  ++patterns_received_;
  Pattern pattern(received->number);
  for (const std::uint8_t byte : received->bytes) {
    if (byte != pattern.next()) {
      ++patterns_wrong_;
      return;
    }
  }
}

void Server::on_packed(const Frame& frame) {
  std::optional<Data> data = parse_data(frame.payload);
  if (!data) return fault(frame, Status::kBadRequest);
  const std::optional<std::size_t> size = inflate(data->bytes, buffers_.unpacked);
  if (!size) return fault(frame, Status::kBadRequest);
  data->bytes = buffers_.unpacked.first(*size);
  take_data(*data);
}

bool Server::golden_opens() const {
  return transfers_.any([](const Transfer& transfer) { return transfer.target.object == Object::kGolden; });
}

Outcome Server::golden(const Frame& frame, Writer&) {
  const std::optional<GoldenSet> set = parse_golden(frame.payload);
  if (!set) return unreadable();
  if (!store_.exists()) return failure(Status::kBadObject, "this device keeps no golden sets");
  if (set->bytes() == 0) return failure(Status::kBadRange, "a set without bytes");
  if (set->bytes() > store_.capacity()) {
    Outcome outcome = failure(Status::kTooLarge, "a golden set may have ");
    outcome.text.append(store_.capacity()).append(" bytes");
    return outcome;
  }
  if (busy() || golden_opens()) return failure(Status::kBusy, "the engine is working or a set is being written");
  golden_ = Golden::kNone;
  golden_set_ = *set;
  Order order;
  order.kind = Order::Kind::kSelect;
  order.seq = frame.seq;
  order.record = static_cast<std::uint32_t>(set->bytes());
  order.digest = set->name;
  orders_.push(order);
  return failure(Status::kPending, "");
}

void Server::end_select(const WorkResult& result, const Order& order, Outcome& outcome) {
  if (order.forgotten || !outcome.ok()) return;
  golden_ = result.found ? Golden::kOpen : Golden::kWanted;
}

Outcome Server::open_golden(const OpenWrite& open) {
  if (golden_ != Golden::kWanted) return failure(Status::kBadObject, "no golden set was asked for and missing");
  if (open.index != 0) return failure(Status::kBadObject, "the index of a golden set is 0");
  if (open.length != golden_set_.bytes()) {
    Outcome outcome = failure(Status::kBadRange, "the set was said to have ");
    outcome.text.append(golden_set_.bytes()).append(" bytes");
    return outcome;
  }
  if (busy()) return failure(Status::kBusy, "the engine is working");
  return store_.begin(golden_set_.name, open.length);
}

Outcome Server::check_golden(const Run& run) const {
  if (golden_ != Golden::kOpen) return failure(Status::kMissingInput, "no golden set is open");
  if (golden_set_.record_bytes != slots_.total_bytes(Role::kInput)) {
    Outcome outcome = failure(Status::kBadRange, "the inputs have ");
    outcome.text.append(slots_.total_bytes(Role::kInput)).append(" bytes, a record of the set ");
    outcome.text.append(golden_set_.record_bytes);
    return outcome;
  }
  if (run.record >= golden_set_.records) return failure(Status::kBadRange, "the golden set ends before that record");
  const bool written = transfers_.any([&](const Transfer& transfer) {
    return transfer.writes() && transfer.target.object == Object::kInput && transfer.target.slot == run.slot;
  });
  return written ? failure(Status::kBusy, "an input of the slot is being written") : success();
}

Outcome Server::gate(const Frame& frame, Writer&) {
  if (parts_.gate == nullptr) return failure(Status::kUnknownKind, "this firmware does not know the request");
  const std::optional<GateRequest> gate = parse_gate(frame.payload);
  if (!gate) return unreadable();
  if (busy()) return failure(Status::kBusy, "the engine is working");
  Outcome outcome = parts_.gate->choose(gate->pin);
  gate_chosen_ = outcome.ok() && gate->pin != Gate::kNone;
  if (gate_chosen_) parts_.gate->set(gate->level != 0);
  return outcome;
}

}  // namespace hil
