#include "hil/work.h"

#include "hil/cbor.h"

namespace hil {

namespace {

class CborProfile final : public ProfileSink {
 public:
  explicit CborProfile(MutableBytes into) : writer_(into) { writer_.open_array(); }

  void layer(std::string_view name, std::string_view type, std::uint64_t cycles) override {
    writer_.array(3).text(name).text(type).uint(cycles);
  }
  // Ends the array; returns its size, or 0 if it did not fit.
  std::size_t finish() {
    writer_.end();
    return writer_.ok() ? writer_.size() : 0;
  }

 private:
  CborWriter writer_;
};

}  // namespace

void Work::prepare(const Order& order) {
  order_ = order;
  result_ = WorkResult{};
  rearm();
}

void Work::execute() {
  switch (order_.kind) {
    case Order::Kind::kLoad:
      result_.outcome = load();
      break;
    case Order::Kind::kRun:
      result_.outcome = run();
      break;
    case Order::Kind::kSelect:
      result_.outcome = select();
      break;
  }
}

Outcome Work::load() {
  const std::string_view path = order_.name.view();
  Outcome outcome = storage_.open(order_.location, path, result_.model_bytes);
  if (outcome.ok()) outcome = hash_model();
  if (!outcome.ok()) {
    engine_.unload();
    return outcome;
  }
  return engine_.load(ModelSource{order_.location, order_.cores, order_.options, path, result_.model_bytes, storage_});
}

Outcome Work::hash_model() {
  Sha256 sha;
  for (std::uint32_t at = 0; at < result_.model_bytes;) {
    const std::uint32_t left = result_.model_bytes - at;
    const MutableBytes piece = left < buffers_.scratch.size() ? buffers_.scratch.first(left) : buffers_.scratch;
    Outcome outcome = storage_.read(order_.location, at, piece);
    if (!outcome.ok()) return outcome;
    sha.update(piece);
    at += static_cast<std::uint32_t>(piece.size());
  }
  result_.model_sha256 = sha.finish();
  return success();
}

Outcome Work::run() {
  if (order_.has(Run::kGolden)) {
    Outcome outcome = read_record();
    if (!outcome.ok()) return outcome;
  }
  const Invocation plain{order_.cores, {}, {}, nullptr};
  for (std::uint32_t i = 0; i < order_.warmup; ++i) {
    Invoked invoked;
    std::uint64_t cycles = 0;
    Outcome outcome = invoke(plain, invoked, cycles);
    if (!outcome.ok()) return outcome;
  }
  Outcome repeated = repeat();
  if (!repeated.ok()) return repeated;
  if (order_.has(Run::kCapture | Run::kProfile)) {
    Outcome outcome = capture_and_profile();
    if (!outcome.ok()) return outcome;
  }
  for (std::size_t i = 0; i < slots_.tensor_count(Role::kOutput); ++i) {
    Outcome outcome = engine_.get_output(i, slots_.tensor(order_.slot, Role::kOutput, i));
    if (!outcome.ok()) return outcome;
  }
  result_.as_expected = order_.has(Run::kExpect) && as_expected();
  return success();
}

// The repetitions, all of them and nothing else with the gate high.
Outcome Work::repeat() {
  const bool gated = order_.has(Run::kGate) && gate_ != nullptr;
  const Invocation plain{order_.cores, {}, {}, nullptr};
  Outcome outcome = success();
  std::uint64_t simulated = 0;
  bool simulates = false;
  if (gated) gate_->set(true);
  const std::uint64_t begin = clock_.cycles();
  for (std::uint32_t i = 0; i < order_.repeats && outcome.ok(); ++i) {
    Invoked invoked;
    std::uint64_t cycles = 0;
    outcome = invoke(plain, invoked, cycles);
    if (!outcome.ok()) break;
    simulates = simulates || invoked.cycles.has_value();
    simulated += cycles;
    // a gated run may have more repetitions than there is memory for
    if (i < buffers_.cycles.size()) buffers_.cycles[i] = cycles;
    result_.last = cycles;
  }
  const std::uint64_t end = clock_.cycles();
  if (gated) gate_->set(false);
  result_.window = simulates ? simulated : end - begin;
  return outcome;
}

bool Work::as_expected() const {
  Sha256 sha;
  for (std::size_t i = 0; i < slots_.tensor_count(Role::kOutput); ++i) {
    sha.update(slots_.tensor(order_.slot, Role::kOutput, i));
  }
  const Sha256::Digest digest = sha.finish();
  return std::memcmp(digest.data(), order_.digest.data(), Run::kDigestBytes) == 0;
}

Outcome Work::read_record() {
  std::uint32_t at = order_.record * static_cast<std::uint32_t>(slots_.total_bytes(Role::kInput));
  for (std::size_t i = 0; i < slots_.tensor_count(Role::kInput); ++i) {
    const MutableBytes input = slots_.tensor(order_.slot, Role::kInput, i);
    Outcome outcome = store_.read(at, input);
    if (!outcome.ok()) return outcome;
    at += static_cast<std::uint32_t>(input.size());
  }
  return success();
}

Outcome Work::select() {
  Outcome outcome = store_.open(order_.digest, order_.record, result_.found);
  if (!outcome.ok() || !result_.found) return outcome;
  Sha256 sha;
  for (std::uint32_t at = 0; at < order_.record;) {
    const std::uint32_t left = order_.record - at;
    const MutableBytes piece = left < buffers_.scratch.size() ? buffers_.scratch.first(left) : buffers_.scratch;
    outcome = store_.read(at, piece);
    if (!outcome.ok()) return outcome;
    sha.update(piece);
    at += static_cast<std::uint32_t>(piece.size());
  }
  result_.found = sha.finish() == order_.digest;
  return success();
}

Outcome Work::invoke(const Invocation& invocation, Invoked& invoked, std::uint64_t& cycles) {
  for (std::size_t i = 0; i < slots_.tensor_count(Role::kInput); ++i) {
    Outcome outcome = engine_.set_input(i, slots_.tensor(order_.slot, Role::kInput, i));
    if (!outcome.ok()) return outcome;
  }
  const std::uint64_t begin = clock_.cycles();
  Outcome outcome = engine_.invoke(invocation, invoked);
  const std::uint64_t end = clock_.cycles();
  cycles = invoked.cycles.value_or(end - begin);
  if (outcome.ok() && order_.cold) {
    result_.cold = cycles;
    order_.cold = false;
  }
  return outcome;
}

Outcome Work::capture_and_profile() {
  CborProfile profile(buffers_.profile);
  Invocation invocation{order_.cores, order_.name.view(), buffers_.captured, nullptr};
  if (order_.has(Run::kProfile)) invocation.profile = &profile;
  Invoked invoked;
  std::uint64_t cycles = 0;
  Outcome outcome = invoke(invocation, invoked, cycles);
  if (!outcome.ok()) return outcome;
  result_.captured_bytes = invoked.captured_bytes;
  if (order_.has(Run::kProfile)) {
    result_.profile_bytes = profile.finish();
    if (result_.profile_bytes == 0) {
      outcome = failure(Status::kTooLarge, "the profile needs more than ");
      outcome.text.append(buffers_.profile.size()).append(" bytes, the device's profile memory");
    }
  }
  return outcome;
}

Order OrderQueue::pop() {
  const Order front = orders_[0];
  --size_;
  for (std::size_t i = 0; i < size_; ++i) orders_[i] = orders_[i + 1];
  return front;
}

}  // namespace hil
