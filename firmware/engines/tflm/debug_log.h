// TFLM's log, see debug_log.cpp.
#pragma once

#include <cstdarg>
#include <cstddef>

namespace hil::tflm {

// Does nothing; called so that the linker takes our DebugLog before it looks for TFLM's.
void link_debug_log();

}  // namespace hil::tflm

extern "C" void DebugLog(const char* format, std::va_list arguments);
extern "C" int DebugVsnprintf(char* buffer, std::size_t size, const char* format, std::va_list arguments);
