// What each request does. docs/PROTOCOL.md, section 3.
#include "hil/crc32.h"
#include "hil/inflate.h"
#include "hil/server.h"

namespace hil {

namespace {

Outcome unreadable() { return failure(Status::kBadRequest, "the payload does not parse"); }
Outcome answered_later() { return failure(Status::kPending, ""); }

}  // namespace

template <typename Concerns>
bool Server::any_order(Concerns concerns) const {
  if (working_ && concerns(work_.order())) return true;
  for (const Order& order : orders_) {
    if (concerns(order)) return true;
  }
  return false;
}

Outcome Server::open_write(const Frame& frame, Writer& body) {
  const std::optional<OpenWrite> open = parse_open_write(frame.payload);
  if (!open) return unreadable();
  if (open->object != Object::kModel && open->object != Object::kInput && open->object != Object::kGolden) {
    return failure(Status::kBadObject, "only MODEL, INPUT and GOLDEN can be written");
  }
  // a location has one image, whatever slot the request names
  const std::uint16_t slot = open->object == Object::kInput ? open->slot : std::uint16_t{0};
  const Target target{open->object, open->index, slot};
  // a host that opens the same object again has given the former transfer up
  for (Transfer& transfer : transfers_) {
    if (transfer.writes() && transfer.target == target) close(transfer);
  }
  Transfer* const transfer = transfers_.vacant();
  if (transfer == nullptr) return failure(Status::kBusy, "4 transfers are open already");
  bool held = false;
  Outcome outcome = open->object == Object::kModel    ? open_model(*open, held)
                    : open->object == Object::kGolden ? open_golden(*open)
                                                      : open_input(*open);
  if (!outcome.ok()) return outcome;
  if (!held) {
    *transfer = Transfer{};
    transfer->direction = Transfer::Direction::kWrite;
    transfer->id = frame.seq;
    transfer->target = target;
    transfer->length = open->length;
    transfer->write.crc_expected = open->crc;
  }
  body.u32(held ? open->length : 0);
  return outcome;
}

Outcome Server::open_model(const OpenWrite& open, bool& held) {
  if (open.index > 0xFF || parts_.storage.location_name(static_cast<std::uint8_t>(open.index)).empty()) {
    return failure(Status::kBadObject, "no such location for a model");
  }
  if (open.length == 0 || open.length == kWholeObject) return failure(Status::kBadRange, "the length of a model");
  const std::uint8_t location = static_cast<std::uint8_t>(open.index);
  if (busy()) return failure(Status::kBusy, "the engine is working");
  const bool in_use = loaded_ && location == location_;
  const bool tensors_open = transfers_.any([](const Transfer& transfer) {
    return transfer.target.object == Object::kInput || transfer.target.object == Object::kOutput;
  });
  if (in_use && tensors_open)
    return failure(Status::kBusy, "inputs or outputs of the loaded model are being transferred");
  if (!captured_opens()) forget_captured();  // an image in RAM may need its memory
  Outcome outcome = parts_.storage.begin(location, open.length, open.crc, held);
  // the engine may run the image in place: what is about to be overwritten must not be run any more
  const bool touched = (outcome.ok() && !held) || outcome.status == Status::kStorageFailed;
  if (in_use && touched) {
    parts_.engine.unload();
    forget_model();
  }
  return outcome;
}

bool Server::captured_opens() const {
  return transfers_.any([](const Transfer& transfer) { return transfer.target.object == Object::kTensor; });
}

void Server::forget_captured() {
  captured_bytes_ = 0;
  rooms_.release_capture();
}

void Server::forget_model() {
  loaded_ = false;
  slots_.clear();
  rooms_.release_slots();
}

Outcome Server::open_input(const OpenWrite& open) {
  if (!loaded_) return failure(Status::kNoModel, "load a model first");
  if (open.slot >= slots_.count()) return failure(Status::kBadObject, "no such slot");
  if (open.index >= slots_.tensor_count(Role::kInput)) return failure(Status::kBadObject, "no such input");
  const std::size_t bytes = slots_.tensor(open.slot, Role::kInput, open.index).size();
  if (open.length != bytes) {
    Outcome outcome = failure(Status::kBadRange, "the input has ");
    outcome.text.append(bytes).append(" bytes, not ").append(open.length);
    return outcome;
  }
  if (slots_.used(open.slot)) return failure(Status::kBusy, "the slot waits for its run");
  const Target target{Object::kInput, open.index, open.slot};
  if (transfers_.any([&](const Transfer& transfer) { return transfer.target == target; })) {
    return failure(Status::kBusy, "the input is being read");
  }
  slots_.set_present(open.slot, open.index, false);
  return success();
}

Outcome Server::open_read(const Frame& frame, Writer& body) {
  const std::optional<OpenRead> open = parse_open_read(frame.payload);
  if (!open) return unreadable();
  const Target target{open->object, open->index, open->slot};
  if (open->object == Object::kInfo || open->object == Object::kCounters) {
    // these are written anew for every reading, so the former one ends
    for (Transfer& transfer : transfers_) {
      if (transfer.reads() && transfer.target.object == open->object) close(transfer);
    }
  }
  Transfer* const transfer = transfers_.vacant();
  if (transfer == nullptr) return failure(Status::kBusy, "4 transfers are open already");
  Bytes source;
  Outcome outcome = readable(*open, source);
  if (!outcome.ok()) return outcome;
  const bool whole = open->length == kWholeObject;
  if (open->offset > source.size() || (!whole && open->length > source.size() - open->offset)) {
    outcome = failure(Status::kBadRange, "the object has ");
    outcome.text.append(source.size()).append(" bytes");
    return outcome;
  }
  source = source.from(open->offset);
  if (!whole) source = source.first(open->length);
  if (!source.empty()) {
    *transfer = Transfer{};
    transfer->direction = Transfer::Direction::kRead;
    transfer->id = frame.seq;
    transfer->target = target;
    transfer->length = static_cast<std::uint32_t>(source.size());
    transfer->read = ReadTransfer(source, kInitialCredit);
  }
  body.u32(static_cast<std::uint32_t>(source.size())).u32(crc32(source));
  return success();
}

Outcome Server::readable(const OpenRead& open, Bytes& source) {
  const auto made_by_run = [&](std::uint8_t flag, Bytes made) {
    if (any_order([&](const Order& order) { return order.runs() && (flag == 0 || order.has(flag)); })) {
      return failure(Status::kBusy, "a run that makes it anew is waiting or going on");
    }
    if (made.empty()) return failure(Status::kBadObject, "no run has made it yet");
    source = made;
    return success();
  };
  switch (open.object) {
    case Object::kInfo: {
      CborWriter writer(buffers_.info);
      describe(writer);
      source = buffers_.info.first(writer.size());
      return writer.ok() ? success() : failure(Status::kTooLarge, "INFO does not fit the device's memory for it");
    }
    case Object::kCounters: {
      CborWriter writer(buffers_.counters);
      sample_counters(writer);
      source = buffers_.counters.first(writer.size());
      return writer.ok() ? success() : failure(Status::kTooLarge, "COUNTERS does not fit the device's memory for it");
    }
    case Object::kInput:
    case Object::kOutput:
      return readable_tensor(open, source);
    case Object::kTensor:
      return made_by_run(Run::kCapture, rooms_.captured().first(captured_bytes_));
    case Object::kProfile:
      return made_by_run(Run::kProfile, buffers_.profile.first(profile_bytes_));
    case Object::kCycles:
      return made_by_run(0, Bytes(reinterpret_cast<const std::uint8_t*>(buffers_.cycles.data()),
                                  cycles_count_ * sizeof(std::uint64_t)));
    case Object::kModel:
    case Object::kGolden:
      return failure(Status::kBadObject, "MODEL and GOLDEN cannot be read");
  }
  return failure(Status::kBadObject, "no such object");
}

Outcome Server::readable_tensor(const OpenRead& open, Bytes& source) const {
  const Role role = open.object == Object::kInput ? Role::kInput : Role::kOutput;
  if (!loaded_) return failure(Status::kNoModel, "load a model first");
  if (open.slot >= slots_.count()) return failure(Status::kBadObject, "no such slot");
  if (open.index >= slots_.tensor_count(role)) return failure(Status::kBadObject, "no such tensor");
  source = slots_.tensor(open.slot, role, open.index);
  if (role == Role::kInput) {
    const Target target{open.object, open.index, open.slot};
    if (transfers_.any([&](const Transfer& transfer) { return transfer.writes() && transfer.target == target; })) {
      return failure(Status::kBusy, "the input is being written");
    }
    return success();
  }
  if (slots_.used(open.slot)) return failure(Status::kBusy, "a run of this slot is waiting or going on");
  if (!slots_.has_outputs(open.slot)) return failure(Status::kBadObject, "the slot has not been run");
  return success();
}

Outcome Server::load(const Frame& frame, Writer&) {
  const std::optional<Load> load = parse_load(frame.payload);
  if (!load || load->cores == 0 || load->cores > 2) return unreadable();
  if (load->path.size() > Order::Name::capacity())
    return failure(Status::kTooLarge, "the path is longer than 128 bytes");
  if (busy()) return failure(Status::kBusy, "the engine is working");
  const bool in_use = transfers_.any([&](const Transfer& transfer) {
    const Object object = transfer.target.object;
    const bool same_model = object == Object::kModel && transfer.target.index == load->location;
    return same_model || object == Object::kInput || object == Object::kOutput || object == Object::kTensor;
  });
  if (in_use) return failure(Status::kBusy, "a model or tensors are being transferred");
  forget_model();
  forget_captured();
  Order order;
  order.kind = Order::Kind::kLoad;
  order.seq = frame.seq;
  order.cores = load->cores;
  order.location = load->location;
  order.options = load->options;
  order.name.append(as_text(load->path));
  orders_.push(order);
  return answered_later();
}

Outcome Server::run(const Frame& frame, Writer&) {
  const std::optional<Run> run = parse_run(frame.payload);
  if (!run) return unreadable();
  Outcome outcome = check_run(*run);
  if (outcome.ok()) outcome = check_inputs(*run);
  if (!outcome.ok()) return outcome;
  if (run->has(Run::kInlineInputs)) outcome = take_inputs(*run);
  if (!outcome.ok()) return outcome;
  Order order;
  order.seq = frame.seq;
  order.flags = run->flags;
  order.cores = run->cores;
  order.slot = run->slot;
  order.warmup = run->warmup;
  order.repeats = run->repeats;
  order.name.append(as_text(run->name));
  order.record = run->record;
  copy_bytes(order.digest.data(), run->digest);
  slots_.set_used(run->slot, true);
  orders_.push(order);
  return answered_later();
}

Outcome Server::check_run(const Run& run) const {
  if (!loaded_) return failure(Status::kNoModel, "load a model first");
  if (run.slot >= slots_.count()) return failure(Status::kBadObject, "no such slot");
  if (run.cores == 0 || run.cores > parts_.board.identity().cores) {
    return failure(Status::kBadRequest, "the chip does not have that many cores");
  }
  const bool observes = run.has(Run::kCapture) || run.has(Run::kProfile);
  if (run.repeats == 0 && !observes) return failure(Status::kBadRequest, "0 repeats only capture or profile");
  if (run.has(Run::kGate) && !gate_chosen_) return failure(Status::kBadRequest, "GATE chooses a pin first");
  if (run.repeats > buffers_.cycles.size() && !run.has(Run::kGate)) {
    Outcome outcome = failure(Status::kTooLarge, "at most ");
    outcome.text.append(buffers_.cycles.size()).append(" repeats are possible");
    return outcome;
  }
  if (run.name.size() > Order::Name::capacity())
    return failure(Status::kUnknownTensor, "the name is longer than 128 bytes");
  if (orders_.full()) return failure(Status::kBusy, "8 runs are waiting already");
  if (slots_.used(run.slot)) return failure(Status::kBusy, "a run of this slot is waiting or going on");
  const bool read = transfers_.any([&](const Transfer& transfer) {
    if (!transfer.reads()) return false;
    const Object object = transfer.target.object;
    const bool same_slot = transfer.target.slot == run.slot;
    return (object == Object::kOutput && same_slot) || object == Object::kCycles ||
           (object == Object::kTensor && run.has(Run::kCapture)) ||
           (object == Object::kProfile && run.has(Run::kProfile)) ||
           (object == Object::kInput && same_slot && run.has(Run::kInlineInputs | Run::kGolden));
  });
  if (read) return failure(Status::kBusy, "something that the run makes anew is being read");
  return success();
}

Outcome Server::check_inputs(const Run& run) const {
  if (run.has(Run::kGolden)) return check_golden(run);
  if (!run.has(Run::kInlineInputs)) {
    if (slots_.all_present(run.slot)) return success();
    return failure(Status::kMissingInput, "not all inputs of the slot have been written");
  }
  const bool written = transfers_.any([&](const Transfer& transfer) {
    return transfer.writes() && transfer.target.object == Object::kInput && transfer.target.slot == run.slot;
  });
  return written ? failure(Status::kBusy, "an input of the slot is being written") : success();
}

Outcome Server::take_inputs(const Run& run) {
  Bytes rest = run.inputs;
  if (run.has(Run::kPacked)) {
    const std::optional<std::size_t> size = inflate(run.inputs, buffers_.unpacked);
    if (!size) return failure(Status::kBadRequest, "the inputs cannot be unpacked");
    rest = buffers_.unpacked.first(*size);
  }
  const std::size_t bytes = slots_.total_bytes(Role::kInput);
  if (rest.size() != bytes) {
    Outcome outcome = failure(Status::kBadRange, "the inputs have ");
    outcome.text.append(bytes).append(" bytes, not ").append(rest.size());
    return outcome;
  }
  for (std::size_t i = 0; i < slots_.tensor_count(Role::kInput); ++i) {
    const MutableBytes input = slots_.tensor(run.slot, Role::kInput, i);
    copy_bytes(input.data(), rest.first(input.size()));
    rest = rest.from(input.size());
    slots_.set_present(run.slot, i, true);
  }
  return success();
}

Outcome Server::cancel(const Frame& frame, Writer&) {
  const std::optional<Cancel> cancel = parse_cancel(frame.payload);
  if (!cancel) return unreadable();
  Transfer* const transfer = transfers_.find(cancel->transfer);
  if (transfer == nullptr) return failure(Status::kBadTransfer, "no such transfer is open");
  close(*transfer);
  return success();
}

Outcome Server::reset(const Frame& frame, Writer&) {
  const std::optional<Reset> reset = parse_reset(frame.payload);
  if (!reset) return unreadable();
  stopping_ = Stopping::kAsked;
  reset_mode_ = reset->mode;
  return success();
}

Outcome Server::ping(const Frame& frame, Writer& body) {
  if (!body.bytes(frame.payload).ok()) return failure(Status::kTooLarge, "the answer does not fit its memory");
  return success();
}

}  // namespace hil
