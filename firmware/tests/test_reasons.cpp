// The runtimes' own words and what they mean. The texts are those that ESP-DL and TFLM print.
#include "check.h"
#include "hil/reasons.h"

using namespace hil;

TEST(every_way_of_saying_that_memory_lacks_is_out_of_memory) {
  for (const std::string_view message : {
           "Failed to alloc 3527.62KB RAM, largest available PSRAM block size 0.00KB, internal RAM block size 216.00KB",
           "Failed to alloc 40.00KB memory, largest available block size 31.00KB. ",
           "Failed to alloc 512.00KB PSRAM, largest available PSRAM block size 300.00KB",
           "Input cap=0x800 can not callocate with MALLOC_CAP_SIMD, please try other caps.",
           "root_alloc failed",
           "Failed to resize buffer. Requested: 98304, available 80000, missing: 18304",
           "Failed to allocate tail memory. Requested: 512, available 16, missing: 496",
           "Failed to allocate temp memory. Requested: 512, available 16, missing: 496",
           "Failed to allocate memory for context->eval_tensors, 1200 bytes required",
           "Failed to allocate variable tensor of size 640",
           "Failed to allocate memory. Requested: 12, available 3, missing: 9",
           "Arena size is too small for all buffers. Needed 98304 but only 65536 was available.",
           "Unable to allocate TfLiteAffineQuantization.",
           "Failed starting model allocation.",
       }) {
    CHECK_EQ(status_of_message(message), Status::kOutOfMemory);
  }
}

TEST(every_way_of_saying_that_an_operator_lacks_is_an_unsupported_operator) {
  for (const std::string_view message : {
           "Do not support Greater, please implement and register it first.",
           "Do not support dim=5",
           "Don't support this mode: 2.",
           "mode is not supported: reflect",
           "Unsupported data type",
           "Didn't find op for builtin opcode 'CONV_2D'",
           "Didn't find op for builtin opcode 'CONV_2D' version '3'. An older version of this builtin might be supported.",
           "Failed to get registration from op code CONV_2D",
           "Missing registration for opcode_index 3",
           "Did not find a parser for CUMSUM",
           "Op builtin_code out of range: 207. Are you using old TFLite binary with newer model?",
           "Hybrid models are not supported on TFLite Micro.",
           "Type INT16 (7) not supported.",
       }) {
    CHECK_EQ(status_of_message(message), Status::kUnsupportedOperator);
  }
}

TEST(other_words_are_a_failed_load) {
  for (const std::string_view message : {
           "", "Model's flatbuffers is empty or broken.", "Unsupported format, or the model file is corrupted!",
           "Can not find model in partition table", "Model provided is schema version 2 not equal to supported version 3."}) {
    CHECK_EQ(status_of_message(message), Status::kLoadFailed);
  }
}
