// The parts of the module esp_hil._device.
#pragma once

#include <nanobind/nanobind.h>

namespace hil::python {

void bind_server(nanobind::module_& module);
void bind_frame(nanobind::module_& module);

}  // namespace hil::python
