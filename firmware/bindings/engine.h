// An engine written in Python.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "buffer.h"
#include "hil/engine.h"

namespace hil::python {

// Names and units are asked once; a new sample is stored atomically, so that it can be read without the GIL.
class SampledCounters {
 public:
  // `source.counters()` returns (name, unit, value) tuples; a source without it has none.
  explicit SampledCounters(nb::handle source);

  // With the GIL held.
  void sample(nb::handle source);
  std::size_t count() const { return specs_.size(); }
  CounterSpec spec(std::size_t index) const { return {specs_[index].name, specs_[index].unit}; }
  std::uint64_t value(std::size_t index) const { return values_[index].load(std::memory_order_relaxed); }

 private:
  struct Spec {
    std::string name;
    std::string unit;
  };
  std::vector<Spec> specs_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> values_;
};

class PythonEngine final : public Engine {
 public:
  explicit PythonEngine(nb::handle engine);

  const EngineIdentity& identity() const override { return identity_; }
  Outcome load(const ModelSource& source) override;
  void unload() override;
  ModelIdentity model() const override { return {family_, name_}; }
  std::size_t tensor_count(Role role) const override { return tensors(role).size(); }
  TensorSpec tensor(Role role, std::size_t index) const override;
  Outcome set_input(std::size_t index, Bytes bytes) override;
  Outcome invoke(const Invocation& invocation, Invoked& invoked) override;
  Outcome get_output(std::size_t index, MutableBytes into) override;

  std::size_t counter_count() const override { return counters_.count(); }
  CounterSpec counter(std::size_t index) const override { return counters_.spec(index); }
  std::uint64_t counter_value(std::size_t index) const override { return counters_.value(index); }

 private:
  struct Tensor {
    std::string name;
    std::string dtype;
    std::string layout;
    std::vector<std::uint32_t> shape;
    std::optional<std::int32_t> exponent;
    std::uint32_t bytes;
    std::optional<Affine> affine;
  };

  const std::vector<Tensor>& tensors(Role role) const { return role == Role::kInput ? inputs_ : outputs_; }
  Outcome load_image(const ModelSource& source, nb::handle image);
  Outcome take_tensor(nb::handle spec);
  Outcome take_result(nb::handle result, const Invocation& invocation, Invoked& invoked);

  nb::handle engine_;  // the server holds the reference
  std::string engine_name_;
  std::string engine_version_;
  std::vector<std::string> families_;
  std::vector<std::string_view> family_views_;
  EngineIdentity identity_;
  std::string family_;
  std::string name_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
  std::vector<Bytes> input_bytes_;
  std::vector<BufferView> results_;  // the outputs of the last invocation
  SampledCounters counters_;
};

}  // namespace hil::python
