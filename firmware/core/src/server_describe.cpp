// INFO and COUNTERS. docs/PROTOCOL.md, section 5.
#include "hil/server.h"

namespace hil {

namespace {

void describe_board(CborWriter& to, const BoardIdentity& board) {
  to.field("app", board.app).field("app_version", board.app_version).field("chip", board.chip);
  to.field("revision", board.revision).field("cores", board.cores).field("clock_hz", board.clock_hz);
  to.field("flash_bytes", board.flash_bytes).field("psram_bytes", board.psram_bytes);
  to.field("internal_bytes", board.internal_bytes).field("mac", board.mac).field("idf", board.idf);
  to.field("sdkconfig_sha256", board.sdkconfig_sha256).field("image_sha256", board.image_sha256);
  to.field("reset_reason", board.reset_reason).field("kind", board.kind).field("boot_id", board.boot_id);
}
constexpr std::size_t kBoardFields = 16;

void describe_engine(CborWriter& to, const EngineIdentity& engine) {
  to.field("engine", engine.name).field("engine_version", engine.version);
  to.text("families").array(engine.families.size());
  for (const std::string_view family : engine.families) to.text(family);
}
constexpr std::size_t kEngineFields = 3;

void describe_tensor(CborWriter& to, Role role, std::size_t index, const TensorSpec& tensor) {
  to.map(6 + (tensor.exponent ? 1 : 0) + (tensor.affine ? 2 : 0));
  to.field("role", role == Role::kInput ? "input" : "output").field("index", index);
  to.field("name", tensor.name).field("dtype", tensor.dtype);
  to.text("shape").array(tensor.shape.size());
  for (const std::uint32_t length : tensor.shape) to.uint(length);
  to.field("layout", tensor.layout);
  if (tensor.exponent) to.text("exponent").integer(*tensor.exponent);
  if (tensor.affine) {
    to.text("scale").float32(tensor.affine->scale);
    to.text("zero_point").integer(tensor.affine->zero_point);
  }
}

}  // namespace

void Server::describe(CborWriter& to) const {
  constexpr std::size_t kServerFields = 11;
  to.map(kBoardFields + kEngineFields + kServerFields);
  to.field("protocol", kProtocolVersion);
  describe_board(to, parts_.board.identity());
  describe_engine(to, parts_.engine.identity());
  to.field("generation", generation_).field("slots", slots_.count());
  to.field("max_repeats", buffers_.cycles.size());
  to.field("answer_bytes", answers_.capacity()).field("capture_bytes", rooms_.capture_bytes());
  to.field("baud", rate_.baud()).field("golden_bytes", store_.capacity());
  describe_model(to);
  describe_counters(to);
}

void Server::describe_model(CborWriter& to) const {
  const Engine& engine = parts_.engine;
  if (!loaded_) {
    to.text("model").null().text("tensors").array(0);
    return;
  }
  char hex[64];
  for (std::size_t i = 0; i < sizeof hex; ++i) {
    const unsigned nibble = model_sha256_[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15u;
    hex[i] = "0123456789abcdef"[nibble];
  }
  const ModelIdentity model = engine.model();
  to.text("model").map(5).field("sha256", std::string_view(hex, sizeof hex)).field("bytes", model_bytes_);
  to.field("location", parts_.storage.location_name(location_)).field("family", model.family).field("name", model.name);
  to.text("tensors").array(engine.tensor_count(Role::kInput) + engine.tensor_count(Role::kOutput));
  for (const Role role : {Role::kInput, Role::kOutput}) {
    for (std::size_t i = 0; i < engine.tensor_count(role); ++i) describe_tensor(to, role, i, engine.tensor(role, i));
  }
}

void Server::describe_counters(CborWriter& to) const {
  const CounterSource* const sources[] = {&counters_, &parts_.board, &parts_.engine};
  std::size_t count = 0;
  for (const CounterSource* const source : sources) count += source->counter_count();
  to.text("counters").array(count);
  std::size_t id = 0;
  for (const CounterSource* const source : sources) {
    for (std::size_t i = 0; i < source->counter_count(); ++i) {
      const CounterSpec counter = source->counter(i);
      to.map(3).field("id", id++).field("name", counter.name).field("unit", counter.unit);
    }
  }
}

void Server::sample_counters(CborWriter& to) const {
  const Board& board = parts_.board;
  const std::size_t engine_count = parts_.engine.counter_count();
  std::size_t id = 0;
  to.array(counters_.counter_count() + board.counter_count() + engine_count);
  for (std::size_t i = 0; i < counters_.counter_count(); ++i) to.array(2).uint(id++).uint(counters_.counter_value(i));
  for (std::size_t i = 0; i < board.counter_count(); ++i) to.array(2).uint(id++).uint(board.counter_value(i));
  for (std::size_t i = 0; i < engine_count; ++i) to.array(2).uint(id++).uint(engine_counter(i));
}

std::uint64_t Server::engine_counter(std::size_t index) const {
  return working_ ? engine_counters_[index] : parts_.engine.counter_value(index);
}

// The engine must not be asked while it works; meanwhile the values from before are told.
void Server::sample_engine() {
  for (std::size_t i = 0; i < parts_.engine.counter_count(); ++i) engine_counters_[i] = parts_.engine.counter_value(i);
}

}  // namespace hil
