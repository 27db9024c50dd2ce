#include "tflm_model.h"

#include <algorithm>

#include "hil/reasons.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace hil::tflm {
namespace {

constexpr unsigned kOperators = 0
#define HIL_TFLM_OPERATOR(method) +1
#include HIL_TFLM_OPERATORS
#undef HIL_TFLM_OPERATOR
    ;

using Resolver = tflite::MicroMutableOpResolver<kOperators>;

const Resolver& resolver() {
  static Resolver operators;
  if (operators.GetRegistrationLength() == 0) {
#define HIL_TFLM_OPERATOR(method) operators.method();
#include HIL_TFLM_OPERATORS
#undef HIL_TFLM_OPERATOR
  }
  return operators;
}

// TFLM says why only in its log. All its memory is the arena, so that no block can lack but there.
Outcome refused(std::string_view what, const esp::LogLines& log, std::size_t arena_bytes) {
  return refusal(what, log.first_error(), Shortage{0, arena_bytes});
}

// numpy's names
std::string_view dtype_name(TfLiteType type) {
  switch (type) {
    case kTfLiteFloat32: return "float32";
    case kTfLiteInt8: return "int8";
    case kTfLiteUInt8: return "uint8";
    case kTfLiteInt16: return "int16";
    case kTfLiteInt32: return "int32";
    case kTfLiteInt64: return "int64";
    case kTfLiteBool: return "bool";
    default: return "";
  }
}

std::optional<Affine> affine_of(const tflite::Tensor& tensor) {
  const tflite::QuantizationParameters* const q = tensor.quantization();
  if (q == nullptr || q->scale() == nullptr || q->scale()->size() != 1) return std::nullopt;
  const bool has_zero = q->zero_point() != nullptr && q->zero_point()->size() == 1;
  return Affine{q->scale()->Get(0), has_zero ? static_cast<std::int32_t>(q->zero_point()->Get(0)) : 0};
}

const TFLMRegistration* find(const tflite::OperatorCode& code) {
  const tflite::BuiltinOperator builtin = std::max(code.builtin_code(), static_cast<tflite::BuiltinOperator>(code.deprecated_builtin_code()));
  if (builtin != tflite::BuiltinOperator_CUSTOM) return resolver().FindOp(builtin);
  return code.custom_code() == nullptr ? nullptr : resolver().FindOp(code.custom_code()->c_str());
}

void append_name(Outcome& outcome, const tflite::OperatorCode& code) {
  const tflite::BuiltinOperator builtin = std::max(code.builtin_code(), static_cast<tflite::BuiltinOperator>(code.deprecated_builtin_code()));
  const bool custom = builtin == tflite::BuiltinOperator_CUSTOM && code.custom_code() != nullptr;
  outcome.text.append(custom ? code.custom_code()->string_view() : std::string_view(EnumNameBuiltinOperator(builtin)));
}

}  // namespace

TensorSpec Tensor::spec() const {
  const Span<const std::uint32_t> extents(shape.data(), shape.size());
  const std::string_view layout = shape.size() == 4 ? "NHWC" : "";
  return TensorSpec{name, dtype, layout, extents, {}, static_cast<std::uint32_t>(data->bytes), affine};
}

std::unique_ptr<Model> Model::load(const ModelSource& source, esp::Images& images, esp::LogLines& log, Observer& observer,
                                   Outcome& outcome) {
  const Options options(source.options);
  if (!options.known()) {
    outcome = failure(Status::kBadRequest, "unknown option bits");
    return nullptr;
  }
  std::unique_ptr<Model> model(new Model(observer));
  log.forget_errors();
  outcome = model->open(source, images);
  if (outcome.ok()) outcome = model->check_operators();
  if (outcome.ok()) outcome = model->build(options, log);
  if (outcome.ok()) outcome = model->describe();
  if (!outcome.ok()) model.reset();
  return model;
}

// TFLM follows every offset of the file as it finds it, so each is verified first.
Outcome Model::open(const ModelSource& source, esp::Images& images) {
  if (source.location == esp::Images::kFile) {
    return failure(Status::kBadRequest, "TFLM reads models in the address space, not in files");
  }
  const std::uint8_t* address = nullptr;
  Outcome outcome = images.map(source.location, source.length, address);
  if (!outcome.ok()) return outcome;
  if (source.length >= 4 && (address[0] == 'E' || address[0] == 'P') && address[1] == 'D' && address[2] == 'L') {
    return failure(Status::kWrongFamily, "an .espdl file; this image runs .tflite files");
  }
  flatbuffers::Verifier verifier(address, source.length);
  if (source.length < 8 || !tflite::VerifyModelBuffer(verifier)) {
    return failure(Status::kLoadFailed, "the image is damaged, or no .tflite file");
  }
  file_ = tflite::GetModel(address);
  if (file_->version() != TFLITE_SCHEMA_VERSION) {
    outcome = failure(Status::kLoadFailed, "schema version ");
    outcome.text.append(file_->version()).append(", TFLM reads ").append(std::uint64_t{TFLITE_SCHEMA_VERSION});
    return outcome;
  }
  const bool whole = file_->subgraphs() != nullptr && file_->subgraphs()->size() > 0 && file_->operator_codes() != nullptr &&
                     file_->buffers() != nullptr && graph().tensors() != nullptr && graph().operators() != nullptr &&
                     graph().inputs() != nullptr && graph().outputs() != nullptr;
  if (!whole) return failure(Status::kLoadFailed, "the model has no graph");
  for (const tflite::Buffer* const buffer : *file_->buffers()) {
    if (buffer->offset() > 1) return failure(Status::kLoadFailed, "constants lie outside the FlatBuffer: TFLM would not read them");
  }
  return success();
}

// The verifier knows offsets, not what numbers mean: those of operators and tensors are checked here.
Outcome Model::check_operators() const {
  const int tensors = static_cast<int>(graph().tensors()->size());
  const auto known = [tensors](const flatbuffers::Vector<std::int32_t>* numbers, int lowest) {
    return numbers != nullptr &&
           std::all_of(numbers->begin(), numbers->end(), [&](int n) { return n >= lowest && n < tensors; });
  };
  bool sound = known(graph().inputs(), 0) && known(graph().outputs(), 0);
  for (const tflite::Tensor* const tensor : *graph().tensors()) sound = sound && tensor->buffer() < file_->buffers()->size();
  for (const tflite::Operator* const op : *graph().operators()) {
    sound = sound && op->opcode_index() < file_->operator_codes()->size() && known(op->inputs(), -1) && known(op->outputs(), 0);
  }
  if (!sound) return failure(Status::kLoadFailed, "an operator names tensors or types that there are not");
  for (const tflite::OperatorCode* const code : *file_->operator_codes()) {
    if (find(*code) != nullptr) continue;
    Outcome outcome = failure(Status::kUnsupportedOperator, "");
    append_name(outcome, *code);
    outcome.text.append(" is not among the operators of this image");
    return outcome;
  }
  return success();
}

// How large an arena must be is only known afterwards: the first is as large as can be, the second as large as needed. (Kernels
// use persistent memory without asking whether they got it, so small ones are never tried.)
Outcome Model::build(const Options& options, esp::LogLines& log) {
  if (options.arena_bytes() != 0) {
    return build_in(options.arena_bytes(), options.arena_in_psram() ? Memory::kPsram : Memory::kInternal, log);
  }
  Memory memory = options.arena_in_psram() ? Memory::kPsram : Memory::kInternal;
  Outcome outcome = build_in(Arena::largest(memory), memory, log);
  if (outcome.status == Status::kOutOfMemory && memory == Memory::kInternal && Arena::largest(Memory::kPsram) > 0) {
    memory = Memory::kPsram;
    log.forget_errors();
    outcome = build_in(Arena::largest(memory), memory, log);
  }
  if (!outcome.ok()) return outcome;
  constexpr std::size_t kSlack = 64;  // what alignment may take, depending on the size
  const std::size_t needed = (arena_used_ + kSlack + 15) / 16 * 16;
  return build_in(needed, memory, log);
}

Outcome Model::build_in(std::size_t size, Memory memory, esp::LogLines& log) {
  interpreter_.reset();
  arena_ = Arena();
  arena_ = Arena(size, memory);
  if (arena_.data() == nullptr) {
    return refusal("no memory for the arena", "", Shortage{size, Arena::largest(memory)}, Status::kOutOfMemory);
  }
  interpreter_.emplace(file_, resolver(), arena_.data(), arena_.size(), nullptr, &observer_);
  if (interpreter_->initialization_status() != kTfLiteOk || interpreter_->AllocateTensors() != kTfLiteOk) {
    return refused("TFLM refuses the model", log, arena_.size());
  }
  arena_used_ = interpreter_->arena_used_bytes();
  return success();
}

Outcome Model::describe() {
  const auto fill = [this](const flatbuffers::Vector<std::int32_t>& numbers, bool input, std::vector<Tensor>& into) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const int number = numbers.Get(i);
      const tflite::Tensor& tensor = *graph().tensors()->Get(number);
      TfLiteTensor* const data = input ? interpreter_->input(i) : interpreter_->output(i);
      if (data == nullptr || dtype_name(data->type).empty()) return false;
      std::vector<std::uint32_t> shape;
      if (tensor.shape() != nullptr) shape.assign(tensor.shape()->begin(), tensor.shape()->end());
      into.push_back({label(number), std::move(shape), dtype_name(data->type), affine_of(tensor), data});
    }
    return true;
  };
  if (fill(*graph().inputs(), true, inputs_) && fill(*graph().outputs(), false, outputs_)) return success();
  return failure(Status::kLoadFailed, "an input or output has a type that the protocol does not know");
}

std::string Model::label(int index) const {
  const auto name_of = [this](int i) {
    const flatbuffers::String* const name = graph().tensors()->Get(i)->name();
    return name == nullptr ? std::string_view() : name->string_view();
  };
  const std::string_view name = name_of(index);
  int same = 0;
  for (int i = 0; i < static_cast<int>(graph().tensors()->size()); ++i) same += name_of(i) == name ? 1 : 0;
  return same == 1 && !name.empty() ? std::string(name) : "#" + std::to_string(index);
}

int Model::made_by(std::size_t operator_index) const {
  const auto* const outputs = graph().operators()->Get(operator_index)->outputs();
  return outputs->size() == 0 ? -1 : outputs->Get(0);
}

}  // namespace hil::tflm
