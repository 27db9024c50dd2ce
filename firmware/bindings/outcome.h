// Python exceptions become outcomes, so that the host hears the device's own words.
#pragma once

#include <nanobind/nanobind.h>

#include <exception>
#include <string>

#include "hil/status.h"

namespace hil::python {

namespace nb = nanobind;

// The outcome of an exception: its attributes `status` and `message` if it has them, else `otherwise` and its type and
// text.
Outcome outcome_of(nb::python_error& error, Status otherwise);

// Calls `body` with the GIL held; what it raises becomes an outcome.
template <typename Body>
Outcome guarded(Status otherwise, Body body) {
  nb::gil_scoped_acquire gil;
  try {
    return body();
  } catch (nb::python_error& error) {
    return outcome_of(error, otherwise);
  } catch (const std::exception& error) {
    return failure(otherwise, error.what());
  }
}

}  // namespace hil::python
