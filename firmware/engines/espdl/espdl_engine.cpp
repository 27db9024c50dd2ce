// ESP-DL as an engine of the device core.
#include <memory>
#include <string>

#include "espdl_model.h"
#include "hil_esp/engine_factory.h"
#include "sdkconfig.h"

namespace hil::espdl {
namespace {

#if CONFIG_IDF_TARGET_ESP32P4 || CONFIG_IDF_TARGET_ESP32S31
constexpr std::string_view kFamilies[] = {"esp32p4"};
#elif CONFIG_IDF_TARGET_ESP32S3
constexpr std::string_view kFamilies[] = {"esp32s3"};
#else
constexpr std::string_view kFamilies[] = {"c"};
#endif
constexpr EngineIdentity kIdentity{"espdl", HIL_ESPDL_VERSION, Span<const std::string_view>(kFamilies)};

// What Model::get_memory_info tells of a loaded model. "variable" is the arena, "others" modules and names.
struct MemoryCounter {
  CounterSpec spec;
  const char* key;
  std::size_t dl::mem_info_t::*place;  // null: both kinds of RAM together
};
constexpr MemoryCounter kMemory[] = {
    {{"arena_bytes", "bytes"}, "variable", nullptr},
    {{"arena_internal_bytes", "bytes"}, "variable", &dl::mem_info_t::internal},
    {{"arena_psram_bytes", "bytes"}, "variable", &dl::mem_info_t::psram},
    {{"parameters_flash_bytes", "bytes"}, "parameter", &dl::mem_info_t::flash},
    {{"parameters_psram_bytes", "bytes"}, "parameter", &dl::mem_info_t::psram},
    {{"parameters_copied_internal_bytes", "bytes"}, "parameter_copy", &dl::mem_info_t::internal},
    {{"parameters_copied_psram_bytes", "bytes"}, "parameter_copy", &dl::mem_info_t::psram},
    {{"model_internal_bytes", "bytes"}, "total", &dl::mem_info_t::internal},
    {{"model_psram_bytes", "bytes"}, "total", &dl::mem_info_t::psram},
    {{"model_flash_bytes", "bytes"}, "total", &dl::mem_info_t::flash},
};
constexpr std::size_t kMemoryCounters = sizeof kMemory / sizeof kMemory[0];

std::size_t figure(const MemoryCounter& counter, const dl::mem_info_t& info) {
  return counter.place == nullptr ? info.internal + info.psram : info.*counter.place;
}

class EspDlEngine final : public Engine {
 public:
  EspDlEngine(esp::Images& images, esp::LogLines& log, Clock& clock) : images_(images), log_(log), clock_(clock) {}

  const EngineIdentity& identity() const override { return kIdentity; }
  Outcome load(const ModelSource& source) override;
  void unload() override;

  ModelIdentity model() const override { return {kFamilies[0], model_->name()}; }
  std::size_t tensor_count(Role role) const override { return tensors(role).size(); }
  TensorSpec tensor(Role role, std::size_t index) const override { return tensors(role)[index].spec(); }

  Outcome set_input(std::size_t index, Bytes bytes) override;
  Outcome invoke(const Invocation& invocation, Invoked& invoked) override;
  Outcome get_output(std::size_t index, MutableBytes into) override;

  std::size_t counter_count() const override { return kMemoryCounters; }
  CounterSpec counter(std::size_t index) const override { return kMemory[index].spec; }
  std::uint64_t counter_value(std::size_t index) const override { return memory_[index]; }

 private:
  const std::vector<Tensor>& tensors(Role role) const { return role == Role::kInput ? model_->inputs() : model_->outputs(); }
  Outcome step(const Invocation& invocation, dl::runtime_mode_t mode, Invoked& invoked);
  Outcome capture(const std::string& name, dl::TensorBase* tensor, MutableBytes into, Invoked& invoked);

  esp::Images& images_;
  esp::LogLines& log_;
  Clock& clock_;
  std::unique_ptr<Model> model_;
  std::size_t memory_[kMemoryCounters] = {};
};

Outcome EspDlEngine::load(const ModelSource& source) {
  unload();
  Outcome outcome;
  model_ = Model::load(source, kFamilies[0], images_, log_, outcome);
  if (!outcome.ok()) {
    images_.unmap();
    return outcome;
  }
  auto info = model_->network().get_memory_info();
  for (std::size_t i = 0; i < kMemoryCounters; ++i) memory_[i] = figure(kMemory[i], info[kMemory[i].key]);
  return outcome;
}

void EspDlEngine::unload() {
  model_.reset();
  images_.unmap();
  for (std::size_t& bytes : memory_) bytes = 0;
}

Outcome EspDlEngine::set_input(std::size_t index, Bytes bytes) {
  copy_bytes(static_cast<std::uint8_t*>(model_->inputs()[index].data->data), bytes);
  return success();
}

Outcome EspDlEngine::get_output(std::size_t index, MutableBytes into) {
  copy_bytes(into.data(), Bytes(static_cast<const std::uint8_t*>(model_->outputs()[index].data->data), into.size()));
  return success();
}

Outcome EspDlEngine::invoke(const Invocation& invocation, Invoked& invoked) {
  if (invocation.cores > portNUM_PROCESSORS) return failure(Status::kBadRequest, "the chip has fewer cores than that");
  const dl::runtime_mode_t mode = invocation.cores > 1 ? dl::RUNTIME_MODE_MULTI_CORE : dl::RUNTIME_MODE_SINGLE_CORE;
  if (!invocation.capture.empty() || invocation.profile != nullptr) return step(invocation, mode, invoked);
  model_->network().run(mode);
  return success();
}

// Module by module: the arena reuses its memory, so a tensor is only there right after the module that made it. That is what
// run()'s user_outputs does too; here the copy is of bytes, and the modules can be timed in the same pass.
Outcome EspDlEngine::step(const Invocation& invocation, dl::runtime_mode_t mode, Invoked& invoked) {
  const std::string wanted(invocation.capture);
  Outcome outcome = success();
  bool captured = wanted.empty();
  const auto take = [&](dl::TensorBase* tensor) {
    captured = true;
    outcome = capture(wanted, tensor, invocation.captured, invoked);
  };
  for (const Tensor& input : model_->inputs()) {
    if (!captured && input.name == wanted) take(input.data);
  }
  fbs::FbsModel& file = model_->file();
  file.load_map();
  const std::vector<std::string> nodes = file.topological_sort();
  const int count = static_cast<int>(nodes.size());
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  for (int i = 0; i < count; ++i) {
    const std::uint64_t begin = clock_.cycles();
    model_->network().run(count, i, mode);
    const std::uint64_t end = clock_.cycles();
    if (invocation.profile != nullptr) invocation.profile->layer(nodes[i], file.get_operation_type(nodes[i]), end - begin);
    if (captured) continue;
    file.get_operation_inputs_and_outputs(nodes[i], inputs, outputs);
    for (const std::string& name : outputs) {
      if (!captured && name == wanted) take(model_->network().get_intermediate(name));
    }
  }
  file.clear_map();
  if (captured) return outcome;
  Outcome unknown = failure(Status::kUnknownTensor, "no node makes ");
  unknown.text.append(wanted);
  return unknown;
}

Outcome EspDlEngine::capture(const std::string& name, dl::TensorBase* tensor, MutableBytes into, Invoked& invoked) {
  if (tensor == nullptr) return failure(Status::kUnknownTensor, name);
  const std::size_t bytes = static_cast<std::size_t>(tensor->get_bytes());
  if (bytes > into.size()) {
    Outcome outcome = failure(Status::kTooLarge, name);
    outcome.text.append(" has ").append(bytes).append(" bytes, the buffer ").append(into.size());
    return outcome;
  }
  copy_bytes(into.data(), Bytes(static_cast<const std::uint8_t*>(tensor->data), bytes));
  invoked.captured_bytes = bytes;
  return success();
}

}  // namespace
}  // namespace hil::espdl

namespace hil::esp {

Engine& make_engine(Images& images, LogLines& log, Clock& clock) {
  static espdl::EspDlEngine engine(images, log, clock);
  return engine;
}

}  // namespace hil::esp
