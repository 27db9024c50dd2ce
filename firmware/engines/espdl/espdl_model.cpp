#include "espdl_model.h"

#include <algorithm>
#include <array>

#include "esp_heap_caps.h"
#include "hil/reasons.h"
#include "hil_esp/refused_block.h"

namespace hil::espdl {
namespace {

Outcome refused(std::string_view what, const esp::LogLines& log, Status otherwise = Status::kLoadFailed) {
  return refusal(what, log.first_error(), esp::refused_block(), otherwise);
}

std::string_view family_of_target(std::string_view target) {
  if (target == "esp32s31") return "esp32p4";
  return target == "esp32p4" || target == "esp32s3" ? target : "c";
}

// numpy's names
std::string_view dtype_name(dl::dtype_t dtype) {
  switch (dtype) {
    case dl::DATA_TYPE_FLOAT: return "float32";
    case dl::DATA_TYPE_UINT8: return "uint8";
    case dl::DATA_TYPE_INT8: return "int8";
    case dl::DATA_TYPE_UINT16: return "uint16";
    case dl::DATA_TYPE_INT16: return "int16";
    case dl::DATA_TYPE_INT32: return "int32";
    case dl::DATA_TYPE_INT64: return "int64";
    case dl::DATA_TYPE_BOOL: return "bool";
    case dl::DATA_TYPE_UINT32: return "uint32";
    case dl::DATA_TYPE_UINT64: return "uint64";
    default: return "";
  }
}

// ESP-DL trusts the lengths in a file. EDL2: magic, mode, length of what follows, 4 zero bytes. EDL1: without the zero bytes.
Outcome check_length(const ModelSource& source, esp::Images& images) {
  std::uint8_t header[12];
  if (source.length < 16) return failure(Status::kLoadFailed, "the image is too short for an .espdl file");
  Outcome outcome = images.read(source.location, 0, MutableBytes(header));
  if (!outcome.ok()) return outcome;
  const std::string_view magic = as_text(Bytes(header, 4));
  if (magic != "EDL1" && magic != "EDL2") return success();  // a pack of several, or what ESP-DL refuses by itself
  Reader rest(Bytes(header + 8, 4));
  const std::uint64_t whole = std::uint64_t{rest.u32()} + (magic == "EDL2" ? 16 : 12);
  if (whole <= source.length) return success();
  outcome = failure(Status::kLoadFailed, "the .espdl image is cut short: it says ");
  outcome.text.append(whole).append(" bytes, there are ").append(source.length);
  return outcome;
}

// ESP-DL (3.3.9) frees a model's parameters only together with its arena: what it refused before there was one would stay, 47 KB of
// copied parameters a time, until the next reset. Its context is private; an explicit instantiation may name it nevertheless.
struct ContextOfModel {
  using Pointer = dl::ModelContext* dl::Model::*;
  friend Pointer pointer(ContextOfModel);
};
template <ContextOfModel::Pointer member>
struct Reveal {
  friend ContextOfModel::Pointer pointer(ContextOfModel) { return member; }
};
template struct Reveal<&dl::Model::m_model_context>;

// Gives a refused model the smallest arena, so that its destructor frees the rest, too.
void make_freeable(dl::Model& network) {
  dl::ModelContext* const context = network.*pointer(ContextOfModel{});
  if (context->get_internal_root() == nullptr && context->get_psram_root() == nullptr) context->root_alloc(16, 0);
}

bool is_quantized(dl::dtype_t dtype) { return dtype == dl::DATA_TYPE_INT8 || dtype == dl::DATA_TYPE_INT16; }

// The tensors of these operators have their channels last (esp-ppq puts a Transpose where the graph needs another order).
bool is_spatial(std::string_view type) {
  constexpr std::array kSpatial = {"Conv",     "ConvTranspose", "AveragePool",  "MaxPool",     "GlobalAveragePool",
                                   "Resize",   "DepthToSpace",  "SpaceToDepth", "InsertZeros"};
  return std::find(kSpatial.begin(), kSpatial.end(), type) != kSpatial.end();
}

std::string_view channels_last(std::size_t rank) { return rank == 4 ? "NHWC" : rank == 3 ? "NWC" : ""; }

std::string_view layout_of(fbs::FbsModel& file, const std::string& tensor, std::size_t rank) {
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  for (const std::string& node : file.topological_sort()) {
    if (!is_spatial(file.get_operation_type(node))) continue;
    file.get_operation_inputs_and_outputs(node, inputs, outputs);
    const bool concerned = (!inputs.empty() && inputs[0] == tensor) || (!outputs.empty() && outputs[0] == tensor);
    if (concerned) return channels_last(rank);
  }
  return "";
}

}  // namespace

TensorSpec Tensor::spec() const {
  TensorSpec spec{name, dtype_name(data->get_dtype()), layout, Span<const std::uint32_t>(shape.data(), shape.size()), {}, 0};
  if (is_quantized(data->get_dtype())) spec.exponent = static_cast<std::int32_t>(data->exponent);
  spec.bytes = static_cast<std::uint32_t>(data->get_bytes());
  return spec;
}

std::unique_ptr<Model> Model::load(const ModelSource& source, std::string_view family, esp::Images& images,
                                   esp::LogLines& log, Outcome& outcome) {
  const Options options(source.options);
  if (!options.known()) {
    outcome = failure(Status::kBadRequest, "unknown option bits");
    return nullptr;
  }
  std::unique_ptr<Model> model(new Model);
  log.forget_errors();
  esp::forget_refused_block();
  outcome = model->open(source, images, log);
  if (outcome.ok()) outcome = model->check_family(family);
  if (outcome.ok()) outcome = model->build(options, log);
  if (outcome.ok()) model->describe();
  if (outcome.ok() && options.self_test()) outcome = model->self_test(log);
  if (!outcome.ok()) model.reset();
  return model;
}

Outcome Model::open(const ModelSource& source, esp::Images& images, esp::LogLines& log) {
  Outcome whole = check_length(source, images);
  if (!whole.ok()) return whole;
  const bool copy = !Options(source.options).parameters_in_flash();
  const std::size_t free = heap_caps_get_free_size(MALLOC_CAP_8BIT);
  if (copy && source.location != esp::Images::kRam && source.length > free) {
    // ESP-DL would write through the null pointer of the first parameter that gets no memory
    Outcome outcome = failure(Status::kOutOfMemory, "the parameters of ");
    outcome.text.append(source.length).append(" bytes do not fit ").append(free).append(" of RAM; LOAD option 1 leaves them in flash");
    return outcome;
  }
  if (source.location == esp::Images::kFile) {
    path_ = std::string(source.path);
    loader_ = std::make_unique<fbs::FbsLoader>(path_.c_str(), fbs::MODEL_LOCATION_IN_SDCARD);
  } else {
    // ESP-DL could map the partition itself, but maps all of it, and aborts where that does not fit the address space
    const std::uint8_t* address = nullptr;
    Outcome outcome = images.map(source.location, source.length, address);
    if (!outcome.ok()) return outcome;
    loader_ = std::make_unique<fbs::FbsLoader>(reinterpret_cast<const char*>(address), fbs::MODEL_LOCATION_IN_FLASH_RODATA);
  }
  file_.reset(loader_->load(0, nullptr, copy));
  if (file_ == nullptr) return refused("ESP-DL cannot read the image", log);
  return success();
}

Outcome Model::check_family(std::string_view family) {
  file_->load_map();
  std::string_view made_for;
  const std::string target = file_->get_model_metadata_prop("target");
  if (!target.empty()) made_for = family_of_target(target);
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  for (const std::string& node : file_->topological_sort()) {
    file_->get_operation_inputs_and_outputs(node, inputs, outputs);
    for (const std::string& name : inputs) {
      // only the kernels of P4 and S31 know more than one exponent, the others would read the first of them
      if (made_for.empty() && !name.empty() && file_->is_parameter(name) && file_->get_tensor_exponents(name).size() > 1) {
        made_for = "esp32p4";
      }
    }
  }
  file_->clear_map();
  if (made_for.empty() || made_for == family) return success();
  Outcome outcome = failure(Status::kWrongFamily, "the model was made for ");
  outcome.text.append(made_for).append(", this image runs ").append(family);
  return outcome;
}

Outcome Model::build(const Options& options, esp::LogLines& log) {
  network_ = std::make_unique<dl::Model>(file_.get(), options.max_internal_bytes());
  const bool complete = [this] {
    const auto has_memory = [](const auto& entry) { return entry.second != nullptr && entry.second->data != nullptr; };
    const auto& inputs = network_->get_inputs();
    const auto& outputs = network_->get_outputs();
    return !outputs.empty() && std::all_of(inputs.begin(), inputs.end(), has_memory) &&
           std::all_of(outputs.begin(), outputs.end(), has_memory);
  }();
  if (complete) return success();
  const Outcome outcome = refused("ESP-DL cannot build the model", log);
  make_freeable(*network_);
  return outcome;
}

void Model::describe() {
  file_->load_map();
  name_ = file_->get_model_name();
  const auto fill = [this](const std::vector<std::string>& names, std::map<std::string, dl::TensorBase*>& tensors,
                           std::vector<Tensor>& into) {
    for (const std::string& name : names) {  // the graph's order, not the map's
      dl::TensorBase* const data = tensors[name];
      const std::vector<int> shape = data->get_shape();
      into.push_back({name, layout_of(*file_, name, shape.size()), {shape.begin(), shape.end()}, data});
    }
  };
  fill(file_->get_graph_inputs(), network_->get_inputs(), inputs_);
  fill(file_->get_graph_outputs(), network_->get_outputs(), outputs_);
  file_->clear_map();
}

Outcome Model::self_test(esp::LogLines& log) {
  file_->load_map();  // without it Espressif's prebuilt reader tells no names
  const bool has_values = !file_->get_test_outputs_name().empty();
  file_->clear_map();
  if (!has_values) {
    return failure(Status::kLoadFailed, "self-test: the file has no test values (export_test_values of esp-ppq)");
  }
  const esp_err_t error = network_->test();
  file_->clear_map();  // some of its failures leave the map behind
  return error == ESP_OK ? success() : refused("self-test failed", log, Status::kEngineFailed);
}

}  // namespace hil::espdl
