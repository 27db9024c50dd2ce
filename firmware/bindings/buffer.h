// Bytes of a Python object: anything with a contiguous buffer.
#pragma once

#include <nanobind/nanobind.h>

#include <utility>

#include "hil/bytes.h"

namespace hil::python {

namespace nb = nanobind;

// Holds the buffer of a Python object. Made, moved and destroyed with the GIL held; its bytes may be read without.
class BufferView {
 public:
  explicit BufferView(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  BufferView(BufferView&& other) noexcept : view_(other.view_) { other.view_ = Py_buffer{}; }
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;
  BufferView& operator=(BufferView&&) = delete;
  ~BufferView() {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
  }

  Bytes bytes() const {
    return Bytes(static_cast<const std::uint8_t*>(view_.buf), static_cast<std::size_t>(view_.len));
  }

 private:
  Py_buffer view_{};
};

inline nb::bytes to_bytes(Bytes bytes) { return nb::bytes(bytes.data(), bytes.size()); }

}  // namespace hil::python
