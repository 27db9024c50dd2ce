// A tflite::MicroInterpreter with what it needs to live, and the names, shapes and scales of its inputs and outputs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arena.h"
#include "hil/engine.h"
#include "hil_esp/images.h"
#include "hil_esp/log_lines.h"
#include "observer.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace hil::tflm {

inline constexpr std::string_view kFamily = "tflm";

// The 16 option bits of LOAD.
struct Options {
  explicit Options(std::uint16_t bits) : bits(bits) {}

  // Bit 0, "parameters in flash": TFLM reads constants where the file lies, always.
  bool arena_in_psram() const { return (bits & 2) != 0; }
  std::size_t arena_bytes() const { return (bits >> 8) * std::size_t{16384}; }  // 0: as little as serves
  bool known() const { return (bits & 0xFC) == 0; }

  std::uint16_t bits;
};

struct Tensor {
  std::string name;
  std::vector<std::uint32_t> shape;
  std::string_view dtype;
  std::optional<Affine> affine;
  TfLiteTensor* data;

  TensorSpec spec() const;
};

// The interpreter's own GetTensor works only where all tensors are preserved, which takes an arena several times as large.
class Interpreter final : public tflite::MicroInterpreter {
 public:
  using MicroInterpreter::MicroInterpreter;

  TfLiteEvalTensor* tensor(int index) { return context().GetEvalTensor(&context(), index); }
};

class Model {
 public:
  // Null with the reason in `outcome`.
  static std::unique_ptr<Model> load(const ModelSource& source, esp::Images& images, esp::LogLines& log, Observer& observer,
                                     Outcome& outcome);

  const std::vector<Tensor>& inputs() const { return inputs_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }
  const Arena& arena() const { return arena_; }
  std::size_t arena_used() const { return arena_used_; }
  Interpreter& interpreter() { return *interpreter_; }

  // Name of a tensor: its own if no other tensor has it, else "#" and its number.
  std::string label(int index) const;
  // The first output of an operator; operators with several are told by that one.
  int made_by(std::size_t operator_index) const;

 private:
  explicit Model(Observer& observer) : observer_(observer) {}

  Outcome open(const ModelSource& source, esp::Images& images);
  Outcome check_operators() const;
  Outcome build(const Options& options, esp::LogLines& log);
  Outcome build_in(std::size_t size, Memory memory, esp::LogLines& log);
  Outcome describe();
  const tflite::SubGraph& graph() const { return *file_->subgraphs()->Get(0); }

  // in this order: the interpreter refers to the arena and to the file
  Observer& observer_;
  const tflite::Model* file_ = nullptr;
  Arena arena_;
  std::size_t arena_used_ = 0;
  std::optional<Interpreter> interpreter_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
};

}  // namespace hil::tflm
