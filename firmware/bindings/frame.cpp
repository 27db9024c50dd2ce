// The pure functions of the core, for tests that compare them with the Python ones.
#include "hil/frame.h"

#include <nanobind/nanobind.h>

#include <vector>

#include "buffer.h"
#include "hil/cobs.h"
#include "hil/crc32.h"
#include "hil/sha256.h"
#include "module.h"

namespace hil::python {

namespace {

class EventList final : public FrameSink {
 public:
  void on_frame(const Frame& frame) override {
    events.append(nb::make_tuple("frame", frame.kind, frame.session, frame.seq, to_bytes(frame.payload)));
  }
  void on_text(Bytes text) override { events.append(nb::make_tuple("text", to_bytes(text))); }
  void on_noise(std::size_t bytes) override { events.append(nb::make_tuple("noise", bytes)); }

  nb::list events;
};

class Decoder {
 public:
  explicit Decoder(std::uint16_t max_payload)
      : memory_(stuffed_limit(max_payload)), decoder_(MutableBytes(memory_.data(), memory_.size()), max_payload) {}
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  nb::list feed(nb::handle data) {
    const BufferView view(data);
    EventList sink;
    decoder_.feed(view.bytes(), sink);
    return sink.events;
  }

 private:
  std::vector<std::uint8_t> memory_;
  FrameDecoder decoder_;
};

nb::bytes encode(nb::handle data) {
  const BufferView view(data);
  std::vector<std::uint8_t> out(cobs_limit(view.bytes().size()));
  CobsEncoder encoder(out.data());
  encoder.put(view.bytes());
  return to_bytes(Bytes(out.data(), encoder.finish()));
}

nb::object decode(nb::handle data) {
  const BufferView view(data);
  std::vector<std::uint8_t> raw(view.bytes().begin(), view.bytes().end());
  const std::optional<std::size_t> size = cobs_decode(MutableBytes(raw.data(), raw.size()));
  return size ? nb::object(to_bytes(Bytes(raw.data(), *size))) : nb::none();
}

nb::bytes encode_frame(std::uint8_t kind, std::uint8_t session, std::uint16_t seq, nb::handle payload) {
  const BufferView view(payload);
  if (kind < kKindMin || kind > kKindMax) throw nb::value_error("kind is not in 0x80..0xBF");
  if (view.bytes().size() > kMaxPayload) throw nb::value_error("the payload has more than 65535 bytes");
  std::vector<std::uint8_t> out(encoded_limit(view.bytes().size()));
  FrameEncoder frame(out.data(), kind, session, seq);
  frame.put(view.bytes());
  return to_bytes(Bytes(out.data(), frame.finish()));
}

}  // namespace

void bind_frame(nb::module_& module) {
  module.def("cobs_encode", &encode, nb::arg("data"));
  module.def("cobs_decode", &decode, nb::arg("stuffed"));
  module.def(
      "crc32", [](nb::handle data, std::uint32_t crc) { return crc32(BufferView(data).bytes(), crc); }, nb::arg("data"),
      nb::arg("crc") = 0);
  module.def(
      "sha256",
      [](nb::handle data) {
        Sha256 sha;
        sha.update(BufferView(data).bytes());
        const Sha256::Digest digest = sha.finish();
        return to_bytes(Bytes(digest.data(), digest.size()));
      },
      nb::arg("data"));
  module.def("encode_frame", &encode_frame, nb::arg("kind"), nb::arg("session"), nb::arg("seq"), nb::arg("payload"));
  nb::class_<Decoder>(module, "FrameDecoder")
      .def(nb::init<std::uint16_t>(), nb::arg("max_payload") = 0xFFFF)
      .def("feed", &Decoder::feed, nb::arg("data"));
}

}  // namespace hil::python

NB_MODULE(_device, module) {
  module.doc() = "The device core of esp-hil, compiled for this machine.";
  hil::python::bind_frame(module);
  hil::python::bind_server(module);
}
