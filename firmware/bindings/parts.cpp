#include "parts.h"

#include <nanobind/stl/string.h>

#include "outcome.h"

namespace hil::python {

namespace {

// For calls that have no answer to put an error into.
template <typename Body>
void unraisable(nb::handle where, Body body) {
  nb::gil_scoped_acquire gil;
  try {
    body();
  } catch (nb::python_error& error) {
    error.restore();
    PyErr_WriteUnraisable(where.ptr());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    PyErr_WriteUnraisable(where.ptr());
  }
}

}  // namespace

PythonBoard::PythonBoard(nb::handle board) : board_(board), counters_(board_) {
  const nb::object identity = board_.attr("identity");
  const auto number = [&](const char* key) { return nb::cast<std::uint32_t>(identity[key]); };
  identity_.app = text(identity, "app");
  identity_.app_version = text(identity, "app_version");
  identity_.chip = text(identity, "chip");
  identity_.revision = number("revision");
  identity_.cores = number("cores");
  identity_.clock_hz = number("clock_hz");
  identity_.flash_bytes = number("flash_bytes");
  identity_.psram_bytes = number("psram_bytes");
  identity_.internal_bytes = number("internal_bytes");
  identity_.mac = text(identity, "mac");
  identity_.idf = text(identity, "idf");
  identity_.sdkconfig_sha256 = text(identity, "sdkconfig_sha256");
  identity_.image_sha256 = text(identity, "image_sha256");
  identity_.reset_reason = text(identity, "reset_reason");
  identity_.reset_reason_code = nb::cast<std::uint8_t>(identity["reset_reason_code"]);
  identity_.kind = text(identity, "kind");
  identity_.boot_id = number("boot_id");
}

const std::string& PythonBoard::text(nb::handle identity, const char* key) {
  texts_.push_back(std::make_unique<std::string>(nb::cast<std::string>(identity[key])));
  return *texts_.back();
}

void PythonBoard::reset(ResetMode mode) {
  unraisable(board_, [&] { board_.attr("reset")(static_cast<int>(mode)); });
}

std::uint64_t PythonBoard::counter_value(std::size_t index) const {
  // all are asked when the first is read, so that they belong to one moment
  if (index == 0) unraisable(board_, [&] { counters_.sample(board_); });
  return counters_.value(index);
}

PythonStorage::PythonStorage(nb::handle storage) : storage_(storage) {
  for (nb::handle name : storage_.attr("locations")) names_.push_back(nb::cast<std::string>(name));
}

std::string_view PythonStorage::location_name(std::uint8_t location) const {
  return location < names_.size() ? std::string_view(names_[location]) : std::string_view();
}

Outcome PythonStorage::begin(std::uint8_t location, std::uint32_t length, std::uint32_t crc, bool& held) {
  return guarded(Status::kStorageFailed, [&] {
    held = nb::cast<bool>(storage_.attr("begin")(location, length, crc));
    return success();
  });
}

Outcome PythonStorage::write(std::uint8_t location, std::uint32_t offset, Bytes bytes) {
  return guarded(Status::kStorageFailed, [&] {
    storage_.attr("write")(location, offset, to_bytes(bytes));
    return success();
  });
}

Outcome PythonStorage::finish(std::uint8_t location) {
  return guarded(Status::kStorageFailed, [&] {
    storage_.attr("finish")(location);
    return success();
  });
}

void PythonStorage::abort(std::uint8_t location) {
  unraisable(storage_, [&] { storage_.attr("abort")(location); });
}

Outcome PythonStorage::open(std::uint8_t location, std::string_view path, std::uint32_t& length) {
  return guarded(Status::kStorageFailed, [&] {
    length = nb::cast<std::uint32_t>(storage_.attr("open")(location, nb::str(path.data(), path.size())));
    return success();
  });
}

Outcome PythonStorage::read(std::uint8_t location, std::uint32_t offset, MutableBytes into) {
  return guarded(Status::kStorageFailed, [&] {
    const nb::object object = storage_.attr("read")(location, offset, into.size());
    const BufferView view(object);
    if (view.bytes().size() != into.size())
      return failure(Status::kStorageFailed, "the storage gave fewer bytes than asked");
    copy_bytes(into.data(), view.bytes());
    return success();
  });
}

PythonRate::PythonRate(nb::handle line) : line_(line), baud_(nb::cast<std::uint32_t>(line_.attr("baud"))) {}

bool PythonRate::possible(std::uint32_t baud) const {
  bool possible = false;
  unraisable(line_, [&] { possible = nb::cast<bool>(line_.attr("possible")(baud)); });
  return possible;
}

void PythonRate::set(std::uint32_t baud) {
  baud_ = baud;
  unraisable(line_, [&] { line_.attr("set_baud")(baud); });
}

std::uint32_t PythonRate::now_ms() const {
  std::uint32_t now = 0;
  unraisable(line_, [&] { now = static_cast<std::uint32_t>(nb::cast<std::uint64_t>(line_.attr("now_ms")())); });
  return now;
}

PythonRegion::PythonRegion(nb::handle region)
    : region_(region),
      size_bytes_(nb::cast<std::uint32_t>(region_.attr("size_bytes"))),
      sector_bytes_(nb::cast<std::uint32_t>(region_.attr("sector_bytes"))) {}

Outcome PythonRegion::erase(std::uint32_t offset, std::uint32_t length) {
  return guarded(Status::kStorageFailed, [&] {
    region_.attr("erase")(offset, length);
    return success();
  });
}

Outcome PythonRegion::write(std::uint32_t offset, Bytes bytes) {
  return guarded(Status::kStorageFailed, [&] {
    region_.attr("write")(offset, to_bytes(bytes));
    return success();
  });
}

Outcome PythonRegion::read(std::uint32_t offset, MutableBytes into) {
  return guarded(Status::kStorageFailed, [&] {
    const nb::object object = region_.attr("read")(offset, into.size());
    const BufferView view(object);
    if (view.bytes().size() != into.size())
      return failure(Status::kStorageFailed, "the golden store gave fewer bytes than asked");
    copy_bytes(into.data(), view.bytes());
    return success();
  });
}

Outcome PythonGate::choose(std::uint8_t pin) {
  return guarded(Status::kBadRange, [&] {
    gate_.attr("choose")(pin);
    return success();
  });
}

void PythonGate::set(bool high) {
  unraisable(gate_, [&] { gate_.attr("set")(high); });
}

ThreadExecutor::ThreadExecutor(std::function<void()> on_done)
    : on_done_(std::move(on_done)), thread_([this] { work(); }) {}

ThreadExecutor::~ThreadExecutor() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void ThreadExecutor::submit(Job& job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    job_ = &job;
  }
  changed_.notify_one();
}

void ThreadExecutor::work() {
  while (true) {
    Job* job = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return job_ != nullptr || stopping_; });
      if (stopping_) return;
      job = job_;
      job_ = nullptr;
    }
    job->run();
    on_done_();
  }
}

}  // namespace hil::python
