// esp_hil._device.Server: the device core with engine, board and storage written in Python.
#include "hil/server.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <memory>
#include <mutex>

#include "module.h"
#include "parts.h"

namespace hil::python {

namespace {

// Below this, working with the GIL held is shorter than what taking it back may cost while an engine runs Python code
// (5 ms).
constexpr std::size_t kReleaseBytes = 128 * 1024;

struct Sizes {
  std::uint16_t max_payload;
  std::uint32_t rx_window;
  std::uint8_t max_slots;
  std::size_t slots_bytes;
  std::size_t answer_bytes;
  std::size_t capture_bytes;
  std::size_t max_repeats;
};

struct Memory {
  explicit Memory(const Sizes& sizes)
      : rx_frame(stuffed_limit(sizes.max_payload)),
        tx_frame(encoded_limit(sizes.max_payload)),
        slots(sizes.slots_bytes + Slots::kAlignment),
        slots_bytes(sizes.slots_bytes),
        answers(Answers::kRemembered * sizes.answer_bytes),
        captured(sizes.capture_bytes),
        unpacked(sizes.max_payload),
        cycles(sizes.max_repeats) {}

  Buffers buffers() {
    const std::size_t off = reinterpret_cast<std::uintptr_t>(slots.data()) % Slots::kAlignment;
    std::uint8_t* const aligned = slots.data() + (off == 0 ? 0 : Slots::kAlignment - off);
    return Buffers{view(rx_frame), view(tx_frame), MutableBytes(aligned, slots_bytes),
                   view(answers),  view(info),     view(counters),
                   view(profile),  view(captured), Span<std::uint64_t>(cycles.data(), cycles.size()),
                   view(scratch),  view(log),      view(unpacked)};
  }
  static MutableBytes view(std::vector<std::uint8_t>& bytes) { return MutableBytes(bytes.data(), bytes.size()); }

  std::vector<std::uint8_t> rx_frame, tx_frame, slots;
  std::size_t slots_bytes;
  std::vector<std::uint8_t> answers, captured, unpacked;
  std::vector<std::uint64_t> cycles;
  std::vector<std::uint8_t> info = std::vector<std::uint8_t>(64 * 1024);
  std::vector<std::uint8_t> counters = std::vector<std::uint8_t>(4 * 1024);
  std::vector<std::uint8_t> profile = std::vector<std::uint8_t>(256 * 1024);
  std::vector<std::uint8_t> scratch = std::vector<std::uint8_t>(256 * 1024);
  std::vector<std::uint8_t> log = std::vector<std::uint8_t>(64 * 1024);
};

class PythonServer {
 public:
  PythonServer(nb::object engine, nb::object board, nb::object storage, std::uint32_t clock_hz, const Sizes& sizes,
               bool threaded, nb::object on_work_done, nb::object line, nb::object golden, nb::object gate)
      : sources_{engine, board, storage, on_work_done, line, golden, gate},
        engine_(engine),
        board_(board),
        storage_(storage),
        clock_(clock_hz),
        memory_(sizes) {
    if (threaded) thread_ = std::make_unique<ThreadExecutor>([this] { work_done(); });
    Executor& executor = threaded ? static_cast<Executor&>(*thread_) : inline_;
    const Config config{sizes.max_payload, sizes.rx_window, sizes.max_slots};
    if (!line.is_none()) rate_ = std::make_unique<PythonRate>(line);
    if (!golden.is_none()) region_ = std::make_unique<PythonRegion>(golden);
    if (!gate.is_none()) gate_ = std::make_unique<PythonGate>(gate);
    const Parts parts{engine_, board_, storage_, clock_, executor, rate_.get(), region_.get(), nullptr, gate_.get()};
    const Buffers buffers = memory_.buffers();
    if (const char* problem = Server::problem(config, buffers, parts)) {
      close();
      throw nb::value_error(problem);
    }
    server_ = std::make_unique<Server>(config, buffers, parts);
  }
  ~PythonServer() { close(); }

  void boot() {
    locked(0, [&] { server_->boot(); });
  }
  void poll() {
    locked(0, [&] { server_->poll(); });
  }
  void receive(nb::handle data) {
    const BufferView view(data);
    locked(view.bytes().size(), [&] { server_->receive(view.bytes()); });
  }
  nb::bytes transmit(std::size_t limit) {
    PyObject* object = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(limit));
    if (object == nullptr) throw nb::python_error();
    auto* const data = reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(object));
    std::size_t size = 0;
    locked(limit, [&] { size = server_->transmit(MutableBytes(data, limit)); });
    if (size != limit && _PyBytes_Resize(&object, static_cast<Py_ssize_t>(size)) != 0) throw nb::python_error();
    return nb::steal<nb::bytes>(object);
  }
  void log(std::uint8_t level, std::string_view text) {
    locked(0, [&] { server_->log(level, text); });
  }
  bool busy() {
    bool busy = false;
    locked(0, [&] { busy = server_->busy(); });
    return busy;
  }
  bool stopped() {
    bool stopped = false;
    locked(0, [&] { stopped = server_->stopped(); });
    return stopped;
  }
  // Ends the worker thread, after the job in progress. Idempotent; the other methods raise afterwards.
  void close() {
    nb::gil_scoped_release release;
    thread_.reset();
    closed_ = true;
  }

  // For the garbage collector: nothing but destruction follows clear.
  const nb::object (&sources() const)[7] { return sources_; }
  void clear() {
    close();
    for (nb::object& source : sources_) source.reset();
  }

 private:
  void work_done() {
    nb::gil_scoped_acquire gil;
    const nb::object& callback = sources_[3];
    if (callback.is_none()) return;
    try {
      callback();
    } catch (nb::python_error& error) {
      error.restore();
      PyErr_WriteUnraisable(callback.ptr());
    }
  }

  // One thread at a time is in the core. Nobody waits for the mutex with the GIL held: who has the mutex may need the
  // GIL to call the storage. Recursive, because an engine that runs inline may log.
  template <typename Body>
  void locked(std::size_t work_bytes, Body body) {
    if (closed_) throw std::runtime_error("the server is closed");
    std::unique_lock<std::recursive_mutex> lock(mutex_, std::defer_lock);
    if (!lock.try_lock()) {
      nb::gil_scoped_release release;
      lock.lock();
    }
    if (work_bytes >= kReleaseBytes) {
      nb::gil_scoped_release release;
      body();
    } else {
      body();
    }
  }

  // engine, board, storage, on_work_done, line, golden, gate: first, so that they outlive who uses them
  nb::object sources_[7];
  PythonEngine engine_;
  PythonBoard board_;
  PythonStorage storage_;
  SteadyClock clock_;
  std::unique_ptr<PythonRate> rate_;
  std::unique_ptr<PythonRegion> region_;
  std::unique_ptr<PythonGate> gate_;
  Memory memory_;
  InlineExecutor inline_;
  std::recursive_mutex mutex_;
  bool closed_ = false;
  std::unique_ptr<Server> server_;
  std::unique_ptr<ThreadExecutor> thread_;  // last: its job uses all the others
};

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  for (const nb::object& source : nb::inst_ptr<PythonServer>(self)->sources()) Py_VISIT(source.ptr());
  return 0;
}

int clear(PyObject* self) {
  nb::inst_ptr<PythonServer>(self)->clear();
  return 0;
}

PyType_Slot kSlots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)}, {Py_tp_clear, reinterpret_cast<void*>(clear)}, {0, nullptr}};

}  // namespace

void bind_server(nb::module_& module) {
  nb::class_<PythonServer>(module, "Server", nb::type_slots(kSlots))
      .def(
          "__init__",
          [](PythonServer* self, nb::object engine, nb::object board, nb::object storage, std::uint32_t clock_hz,
             std::size_t slots_bytes, std::uint8_t max_slots, std::uint32_t rx_window, std::uint16_t max_payload,
             std::size_t answer_bytes, std::size_t capture_bytes, std::size_t max_repeats, bool threaded,
             nb::object on_work_done, nb::object line, nb::object golden, nb::object gate) {
            const Sizes sizes{max_payload, rx_window, max_slots, slots_bytes, answer_bytes, capture_bytes, max_repeats};
            new (self) PythonServer(engine, board, storage, clock_hz, sizes, threaded, on_work_done,
                                    line, golden, gate);
          },
          nb::arg("engine"), nb::arg("board"), nb::arg("storage"), nb::kw_only(), nb::arg("clock_hz"),
          nb::arg("slots_bytes"), nb::arg("max_slots") = 4, nb::arg("rx_window") = 65536, nb::arg("max_payload") = 4096,
          nb::arg("answer_bytes") = 4096, nb::arg("capture_bytes") = 16 << 20, nb::arg("max_repeats") = 10000,
          nb::arg("threaded") = true, nb::arg("on_work_done") = nb::none(), nb::arg("line") = nb::none(),
          nb::arg("golden") = nb::none(), nb::arg("gate") = nb::none())
      .def("boot", &PythonServer::boot)
      .def("receive", &PythonServer::receive, nb::arg("data"))
      .def("transmit", &PythonServer::transmit, nb::arg("limit"))
      .def("poll", &PythonServer::poll)
      .def("log", &PythonServer::log, nb::arg("level"), nb::arg("text"))
      .def("close", &PythonServer::close)
      .def_prop_ro("busy", &PythonServer::busy)
      .def_prop_ro("stopped", &PythonServer::stopped);
}

}  // namespace hil::python
