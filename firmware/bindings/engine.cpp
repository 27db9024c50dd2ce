#include "engine.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "outcome.h"

namespace hil::python {

namespace {

template <typename T>
T attribute(nb::handle object, const char* name) {
  return nb::cast<T>(object.attr(name));
}

std::optional<Affine> affine_of(nb::handle spec) {
  if (!nb::hasattr(spec, "scale") || spec.attr("scale").is_none()) return std::nullopt;
  return Affine{attribute<float>(spec, "scale"), attribute<std::int32_t>(spec, "zero_point")};
}

}  // namespace

SampledCounters::SampledCounters(nb::handle source) {
  if (!nb::hasattr(source, "counters")) return;
  for (nb::handle row : source.attr("counters")()) {
    specs_.push_back(Spec{nb::cast<std::string>(row[0]), nb::cast<std::string>(row[1])});
  }
  values_ = std::make_unique<std::atomic<std::uint64_t>[]>(specs_.size());
  sample(source);
}

void SampledCounters::sample(nb::handle source) {
  if (specs_.empty()) return;
  std::size_t index = 0;
  for (nb::handle row : source.attr("counters")()) {
    if (index == specs_.size()) throw std::length_error("the number of counters changed");
    values_[index++].store(nb::cast<std::uint64_t>(row[2]), std::memory_order_relaxed);
  }
}

PythonEngine::PythonEngine(nb::handle engine)
    : engine_(engine),
      engine_name_(attribute<std::string>(engine_, "name")),
      engine_version_(attribute<std::string>(engine_, "version")),
      counters_(engine_) {
  for (nb::handle family : engine_.attr("families")) families_.push_back(nb::cast<std::string>(family));
  for (const std::string& family : families_) family_views_.push_back(family);
  identity_ = EngineIdentity{engine_name_, engine_version_,
                             Span<const std::string_view>(family_views_.data(), family_views_.size())};
}

Outcome PythonEngine::load(const ModelSource& source) {
  return guarded(Status::kLoadFailed, [&]() -> Outcome {
    // a bytes object is filled in place: an image may have tens of megabytes
    nb::object image = nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(source.length)));
    if (!image.is_valid()) return failure(Status::kOutOfMemory, "no memory for the model image");
    auto* const data = reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(image.ptr()));
    Outcome outcome = source.storage.read(source.location, 0, MutableBytes(data, source.length));
    return outcome.ok() ? load_image(source, image) : outcome;
  });
}

Outcome PythonEngine::load_image(const ModelSource& source, nb::handle image) {
  inputs_.clear();
  outputs_.clear();
  const nb::object model = engine_.attr("load")(image, nb::arg("location") = source.location,
                                                nb::arg("path") = nb::str(source.path.data(), source.path.size()),
                                                nb::arg("cores") = source.cores, nb::arg("options") = source.options);
  family_ = attribute<std::string>(model, "family");
  name_ = attribute<std::string>(model, "name");
  for (nb::handle spec : model.attr("tensors")) {
    Outcome outcome = take_tensor(spec);
    if (!outcome.ok()) return outcome;
  }
  input_bytes_.assign(inputs_.size(), Bytes());
  counters_.sample(engine_);
  return success();
}

Outcome PythonEngine::take_tensor(nb::handle spec) {
  const std::string role = attribute<std::string>(spec, "role");
  if (role != "input" && role != "output") return failure(Status::kLoadFailed, "a tensor is neither input nor output");
  std::vector<Tensor>& tensors = role == "input" ? inputs_ : outputs_;
  if (attribute<std::size_t>(spec, "index") != tensors.size()) {
    return failure(Status::kLoadFailed, "the tensors are not in the order of their index");
  }
  tensors.push_back(
      Tensor{attribute<std::string>(spec, "name"), attribute<std::string>(spec, "dtype"),
             attribute<std::string>(spec, "layout"), nb::cast<std::vector<std::uint32_t>>(nb::list(spec.attr("shape"))),
             attribute<std::optional<std::int32_t>>(spec, "exponent"), attribute<std::uint32_t>(spec, "nbytes"),
             affine_of(spec)});
  return success();
}

void PythonEngine::unload() {
  const Outcome outcome = guarded(Status::kEngineFailed, [&] {
    inputs_.clear();
    outputs_.clear();
    results_.clear();
    engine_.attr("unload")();
    return success();
  });
  if (outcome.ok()) return;
  // nobody waits for an answer to this, so the interpreter is told
  nb::gil_scoped_acquire gil;
  const std::string text(outcome.text.view());
  PyErr_SetString(PyExc_RuntimeError, text.c_str());
  PyErr_WriteUnraisable(engine_.ptr());
}

TensorSpec PythonEngine::tensor(Role role, std::size_t index) const {
  const Tensor& tensor = tensors(role)[index];
  const Span<const std::uint32_t> shape(tensor.shape.data(), tensor.shape.size());
  return TensorSpec{tensor.name, tensor.dtype, tensor.layout, shape, tensor.exponent, tensor.bytes, tensor.affine};
}

Outcome PythonEngine::set_input(std::size_t index, Bytes bytes) {
  input_bytes_[index] = bytes;
  return success();
}

Outcome PythonEngine::invoke(const Invocation& invocation, Invoked& invoked) {
  return guarded(Status::kEngineFailed, [&] {
    nb::list inputs;
    for (const Bytes bytes : input_bytes_) inputs.append(to_bytes(bytes));
    const nb::object capture = invocation.capture.empty()
                                   ? nb::none()
                                   : nb::object(nb::str(invocation.capture.data(), invocation.capture.size()));
    const nb::object result =
        engine_.attr("run")(inputs, nb::arg("cores") = invocation.cores, nb::arg("capture") = capture,
                            nb::arg("profile") = invocation.profile != nullptr);
    counters_.sample(engine_);
    return take_result(result, invocation, invoked);
  });
}

Outcome PythonEngine::take_result(nb::handle result, const Invocation& invocation, Invoked& invoked) {
  results_.clear();
  for (nb::handle output : result.attr("outputs")) results_.emplace_back(output);
  if (results_.size() != outputs_.size())
    return failure(Status::kEngineFailed, "the engine gave another number of outputs");
  invoked.cycles = attribute<std::optional<std::uint64_t>>(result, "cycles");
  if (!invocation.capture.empty()) {
    const nb::object object = result.attr("captured");
    if (object.is_none()) return failure(Status::kUnknownTensor, invocation.capture);
    const BufferView captured(object);
    if (captured.bytes().size() > invocation.captured.size()) {
      return failure(Status::kTooLarge, "the tensor does not fit the device's memory for it");
    }
    copy_bytes(invocation.captured.data(), captured.bytes());
    invoked.captured_bytes = captured.bytes().size();
  }
  if (invocation.profile != nullptr) {
    for (nb::handle layer : result.attr("profile")) {
      invocation.profile->layer(nb::cast<std::string>(layer[0]), nb::cast<std::string>(layer[1]),
                                nb::cast<std::uint64_t>(layer[2]));
    }
  }
  return success();
}

Outcome PythonEngine::get_output(std::size_t index, MutableBytes into) {
  const Bytes bytes = results_[index].bytes();
  if (bytes.size() != into.size()) {
    Outcome outcome = failure(Status::kEngineFailed, "output ");
    outcome.text.append(index).append(" has ").append(bytes.size()).append(" bytes, not ").append(into.size());
    return outcome;
  }
  copy_bytes(into.data(), bytes);
  return success();
}

}  // namespace hil::python
