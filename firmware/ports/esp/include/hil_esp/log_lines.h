// ESP-IDF's log on its way to the host as LOG frames: printed straight onto a shared UART it would cut frames in two.
#pragma once

#include <cstdarg>
#include <string_view>

#include "freertos/FreeRTOS.h"
#include "freertos/message_buffer.h"
#include "freertos/semphr.h"
#include "hil/bytes.h"
#include "hil_esp/line.h"

namespace hil::esp {

class LogLines {
 public:
  // Takes the log over, from all tasks, until the chip restarts; there can be one.
  explicit LogLines(Line& line);

  struct Entry {
    std::uint8_t level;  // 1 error, 2 warning, 3 information, 4 debug, 5 verbose, 0 unknown
    std::string_view text;
  };
  // Takes the oldest line; the text lives until the next call. Called by the server's task. False: there is none.
  bool pop(Entry& entry);
  // Takes what was printed, in pieces that need not end where lines do.
  void printed(std::string_view piece);
  // Lines that were lost because nobody took them.
  std::uint32_t dropped() const { return dropped_; }

  // The first error that was logged since `forget_errors`: why a library refused something, in its own words.
  void forget_errors() { error_ = {}; }
  std::string_view first_error() const { return error_.view(); }

  // Prints the errors of the last seconds on the console, where a panic's text follows: the host gets no frames any more.
  static void last_words();

 private:
  static int print(const char* format, va_list arguments);
  void take(std::string_view text);

  static constexpr std::size_t kLineBytes = 200;
  static constexpr std::size_t kBufferBytes = 4096;
  static constexpr std::size_t kLastErrors = 4;
  static constexpr std::uint32_t kLastWordsMs = 5000;  // an older error is not why the program ends now

  struct LastError {
    char text[kLineBytes];
    std::uint32_t at_ms;
  };

  Line& line_;
  MessageBufferHandle_t buffer_;
  SemaphoreHandle_t writers_;  // a message buffer has one writer at a time
  char text_[kLineBytes];
  char popped_[kLineBytes];
  FixedText<kLineBytes> printed_;  // of a line that has not ended yet
  FixedText<128> error_;
  std::uint32_t dropped_ = 0;
  LastError last_errors_[kLastErrors] = {};
  std::uint32_t errors_ = 0;  // that were logged; the latest lies at (errors_ - 1) % kLastErrors
};

}  // namespace hil::esp
