// A dl::Model with what it needs to live, and the names, shapes and layouts of its inputs and outputs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dl_model_base.hpp"
#include "hil/engine.h"
#include "hil_esp/images.h"
#include "hil_esp/log_lines.h"

namespace hil::espdl {

// The 16 option bits of LOAD.
struct Options {
  explicit Options(std::uint16_t bits) : bits(bits) {}

  bool parameters_in_flash() const { return (bits & 1) != 0; }  // dl::Model's param_copy = false
  bool self_test() const { return (bits & 2) != 0; }            // Model::test() after loading
  int max_internal_bytes() const { return (bits >> 8) * 16384; }  // of the arena, where there is PSRAM
  bool known() const { return (bits & 0xFC) == 0; }

  std::uint16_t bits;
};

struct Tensor {
  std::string name;
  std::string_view layout;  // "" where the graph does not tell
  std::vector<std::uint32_t> shape;
  dl::TensorBase* data;

  TensorSpec spec() const;
};

class Model {
 public:
  // Null with the reason in `outcome`.
  static std::unique_ptr<Model> load(const ModelSource& source, std::string_view family, esp::Images& images,
                                     esp::LogLines& log, Outcome& outcome);

  const std::vector<Tensor>& inputs() const { return inputs_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }
  std::string_view name() const { return name_; }
  dl::Model& network() { return *network_; }
  fbs::FbsModel& file() { return *file_; }

 private:
  Model() = default;

  Outcome open(const ModelSource& source, esp::Images& images, esp::LogLines& log);
  Outcome check_family(std::string_view family);
  Outcome build(const Options& options, esp::LogLines& log);
  void describe();
  Outcome self_test(esp::LogLines& log);

  // in this order: the network refers to the file, the file to what the loader mapped, the loader to the path
  std::string path_;
  std::unique_ptr<fbs::FbsLoader> loader_;
  std::unique_ptr<fbs::FbsModel> file_;
  std::unique_ptr<dl::Model> network_;
  std::string name_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
};

}  // namespace hil::espdl
