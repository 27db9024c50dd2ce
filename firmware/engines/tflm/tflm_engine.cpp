// TensorFlow Lite Micro as an engine of the device core.
#include <memory>
#include <string>

#include "debug_log.h"
#include "hil_esp/engine_factory.h"
#include "tensorflow/lite/micro/memory_helpers.h"
#include "tensorflow/lite/micro/micro_utils.h"
#include "tflm_model.h"

namespace hil::tflm {
namespace {

constexpr std::string_view kFamilies[] = {kFamily};
constexpr EngineIdentity kIdentity{"tflm", HIL_TFLM_VERSION, Span<const std::string_view>(kFamilies)};
constexpr CounterSpec kCounters[] = {
    {"arena_bytes", "bytes"}, {"arena_internal_bytes", "bytes"}, {"arena_psram_bytes", "bytes"}};

class TflmEngine final : public Engine {
 public:
  TflmEngine(esp::Images& images, esp::LogLines& log, Clock& clock) : images_(images), log_(log), observer_(clock) {
    link_debug_log();
  }

  const EngineIdentity& identity() const override { return kIdentity; }
  Outcome load(const ModelSource& source) override;
  void unload() override;

  ModelIdentity model() const override { return {kFamily, ""}; }
  std::size_t tensor_count(Role role) const override { return tensors(role).size(); }
  TensorSpec tensor(Role role, std::size_t index) const override { return tensors(role)[index].spec(); }

  Outcome set_input(std::size_t index, Bytes bytes) override;
  Outcome invoke(const Invocation& invocation, Invoked& invoked) override;
  Outcome get_output(std::size_t index, MutableBytes into) override;

  std::size_t counter_count() const override { return sizeof kCounters / sizeof kCounters[0]; }
  CounterSpec counter(std::size_t index) const override { return kCounters[index]; }
  std::uint64_t counter_value(std::size_t index) const override;

 private:
  const std::vector<Tensor>& tensors(Role role) const { return role == Role::kInput ? model_->inputs() : model_->outputs(); }
  Outcome watched(const Invocation& invocation, Invoked& invoked);
  Outcome capture(int number, MutableBytes into, Invoked& invoked);
  Outcome run();

  esp::Images& images_;
  esp::LogLines& log_;
  Observer observer_;
  std::unique_ptr<Model> model_;
};

Outcome TflmEngine::load(const ModelSource& source) {
  unload();
  Outcome outcome;
  model_ = Model::load(source, images_, log_, observer_, outcome);
  return outcome;
}

void TflmEngine::unload() {
  model_.reset();
  images_.unmap();
}

std::uint64_t TflmEngine::counter_value(std::size_t index) const {
  if (model_ == nullptr) return 0;
  const bool in_psram = model_->arena().memory() == Memory::kPsram;
  const bool counts = index == 0 || (index == 2) == in_psram;
  return counts ? (index == 0 ? model_->arena_used() : model_->arena().size()) : 0;
}

Outcome TflmEngine::set_input(std::size_t index, Bytes bytes) {
  copy_bytes(static_cast<std::uint8_t*>(model_->inputs()[index].data->data.data), bytes);
  return success();
}

Outcome TflmEngine::get_output(std::size_t index, MutableBytes into) {
  const void* const data = model_->outputs()[index].data->data.data;
  copy_bytes(into.data(), Bytes(static_cast<const std::uint8_t*>(data), into.size()));
  return success();
}

Outcome TflmEngine::invoke(const Invocation& invocation, Invoked& invoked) {
  if (invocation.cores > 1) return failure(Status::kBadRequest, "TFLM runs on one core");
  if (!invocation.capture.empty() || invocation.profile != nullptr) return watched(invocation, invoked);
  return run();
}

Outcome TflmEngine::run() {
  log_.forget_errors();
  if (model_->interpreter().Invoke() == kTfLiteOk) return success();
  Outcome outcome = failure(Status::kEngineFailed, "TFLM failed: ");
  outcome.text.append(log_.first_error());
  return outcome;
}

Outcome TflmEngine::watched(const Invocation& invocation, Invoked& invoked) {
  const std::string wanted(invocation.capture);
  Outcome captured = failure(Status::kUnknownTensor, "no operator makes ");
  captured.text.append(wanted);
  if (wanted.empty()) captured = success();
  observer_.watch([&](std::size_t index, std::string_view type, std::uint64_t cycles) {
    const int number = model_->made_by(index);
    const std::string name = number < 0 ? std::string() : model_->label(number);
    if (invocation.profile != nullptr) invocation.profile->layer(name, type, cycles);
    if (captured.status == Status::kUnknownTensor && name == wanted) captured = capture(number, invocation.captured, invoked);
  });
  const Outcome outcome = run();
  observer_.watch({});
  return outcome.ok() ? captured : outcome;
}

Outcome TflmEngine::capture(int number, MutableBytes into, Invoked& invoked) {
  const TfLiteEvalTensor* const tensor = model_->interpreter().tensor(number);
  std::size_t bytes = 0;
  if (tensor == nullptr || tflite::TfLiteEvalTensorByteLength(tensor, &bytes) != kTfLiteOk) {
    return failure(Status::kUnknownTensor, "the tensor has no memory");
  }
  if (bytes > into.size()) {
    Outcome outcome = failure(Status::kTooLarge, "the tensor has ");
    outcome.text.append(static_cast<std::uint64_t>(bytes)).append(" bytes, the buffer ");
    outcome.text.append(static_cast<std::uint64_t>(into.size()));
    return outcome;
  }
  copy_bytes(into.data(), Bytes(static_cast<const std::uint8_t*>(tensor->data.data), bytes));
  invoked.captured_bytes = bytes;
  return success();
}

}  // namespace
}  // namespace hil::tflm

namespace hil::esp {

Engine& make_engine(Images& images, LogLines& log, Clock& clock) {
  static tflm::TflmEngine engine(images, log, clock);
  return engine;
}

}  // namespace hil::esp
