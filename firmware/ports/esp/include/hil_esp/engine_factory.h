// What every folder of engines/ defines: the runtime of this image.
#pragma once

#include "hil/clock.h"
#include "hil/engine.h"
#include "hil_esp/images.h"
#include "hil_esp/log_lines.h"

namespace hil::esp {

// `log` tells in the runtime's own words why it refused a model; `clock` times single layers.
Engine& make_engine(Images& images, LogLines& log, Clock& clock);

}  // namespace hil::esp
