// A runtime that loads a model and runs it: dl::Model, tflite::MicroInterpreter, the exact reference on a PC.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "hil/bytes.h"
#include "hil/counters.h"
#include "hil/status.h"
#include "hil/storage.h"

namespace hil {

struct EngineIdentity {
  std::string_view name;
  std::string_view version;
  Span<const std::string_view> families;  // numeric families it runs: c, esp32s3, esp32p4
};

struct ModelIdentity {
  std::string_view family;
  std::string_view name;
};

enum class Role : std::uint8_t { kInput, kOutput };

// What an integer q of a tensor without exponent stands for: (q - zero_point) * scale.
struct Affine {
  float scale;
  std::int32_t zero_point;
};

struct TensorSpec {
  std::string_view name;
  std::string_view dtype;
  std::string_view layout;
  Span<const std::uint32_t> shape;
  std::optional<std::int32_t> exponent;  // none for float and for affine integers
  std::uint32_t bytes = 0;
  std::optional<Affine> affine = std::nullopt;
};

struct ModelSource {
  std::uint8_t location;
  std::uint8_t cores;
  std::uint16_t options;  // the engine's own
  std::string_view path;
  std::uint32_t length;
  Storage& storage;
};

class ProfileSink {
 public:
  virtual void layer(std::string_view name, std::string_view type, std::uint64_t cycles) = 0;

 protected:
  ~ProfileSink() = default;
};

struct Invocation {
  std::uint8_t cores = 1;
  std::string_view capture;        // name of the tensor to keep, empty: none
  MutableBytes captured;           // where to keep it
  ProfileSink* profile = nullptr;  // gets every layer, in order, if not null
};

struct Invoked {
  std::size_t captured_bytes = 0;
  std::optional<std::uint64_t> cycles;  // only from an engine that simulates time; the server measures the others
};

// load, unload, set_input, invoke and get_output are called by one thread at a time, and never while another of them is
// running. The descriptions (identity, model, tensor...) are read by the server's thread, also during invoke; they
// change only in load and unload.
class Engine : public CounterSource {
 public:
  virtual const EngineIdentity& identity() const = 0;

  // Replaces the loaded model. After a failure none is loaded.
  virtual Outcome load(const ModelSource& source) = 0;
  virtual void unload() = 0;

  virtual ModelIdentity model() const = 0;
  virtual std::size_t tensor_count(Role role) const = 0;
  virtual TensorSpec tensor(Role role, std::size_t index) const = 0;

  // The bytes have the tensor's length and stay unchanged until the invocations of this run are over. set_input is
  // called for every input before each invoke, because an arena may reuse their memory, and is not part of what is
  // timed.
  virtual Outcome set_input(std::size_t index, Bytes bytes) = 0;
  virtual Outcome invoke(const Invocation& invocation, Invoked& invoked) = 0;
  virtual Outcome get_output(std::size_t index, MutableBytes into) = 0;

 protected:
  ~Engine() = default;
};

}  // namespace hil
