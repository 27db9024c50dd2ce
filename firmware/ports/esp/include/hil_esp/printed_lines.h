// What libraries print with printf: as lines of the log, since straight onto a shared UART it would cut frames in two.
#pragma once

#include "hil_esp/log_lines.h"

namespace hil::esp {

// From now on stdout, of all tasks, leads into the log.
void take_stdout(LogLines& log);

}  // namespace hil::esp
