#include "outcome.h"

#include <nanobind/stl/string.h>

namespace hil::python {

namespace {

constexpr int kLastStatus = static_cast<int>(Status::kStopping);

Status status_of(nb::handle value, Status otherwise) {
  if (!nb::hasattr(value, "status")) return otherwise;
  int number = 0;
  if (!nb::try_cast(nb::object(value.attr("status")), number)) return otherwise;
  return number > 0 && number <= kLastStatus ? static_cast<Status>(number) : otherwise;
}

}  // namespace

Outcome outcome_of(nb::python_error& error, Status otherwise) {
  // the interrupt is for the whole process: the request fails, and the interpreter raises it again
  if (error.matches(PyExc_KeyboardInterrupt)) PyErr_SetInterrupt();
  const nb::handle value = error.value();
  try {
    const Status status = status_of(value, otherwise);
    if (nb::hasattr(value, "message")) return failure(status, nb::str(value.attr("message")).c_str());
    Outcome outcome = failure(status, nb::str(error.type().attr("__name__")).c_str());
    outcome.text.append(": ").append(nb::str(value).c_str());
    return outcome;
  } catch (nb::python_error&) {
    return failure(otherwise, "an exception that cannot be printed");
  }
}

}  // namespace hil::python
