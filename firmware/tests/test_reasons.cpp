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
           "ELU only supports float32 and int8 currently, got INT16.",
           "Only int32_t are supported currently, got INT64.",
           "Only Bool is accepted as input type.",
           "BATCH_MATMUL doesn't support input type INT32",
           "Op Concatenation does not currently support Type 'UINT8'.",
           "unsupported tensor type INT4",
           "Output type is INT16, requires float or int8.",
           "Unhandled LSTM kernel type: 1",
           "Couldn't register builtin op #28, resolver size is too small (3).",
           "The quant type(3) is not support now",
       }) {
    CHECK_EQ(status_of_message(message), Status::kUnsupportedOperator);
  }
}

TEST(other_words_are_a_failed_load) {
  for (const std::string_view message : {
           "", "Model's flatbuffers is empty or broken.", "Unsupported format, or the model file is corrupted!",
           "Can not find model in partition table", "Model provided is schema version 2 not equal to supported version 3.",
           "Failed to allocate resource variable. Maximum resource variable count (4) reached.",
           "Cannot allocate a new resizable buffer when one is already allocated"}) {
    CHECK_EQ(status_of_message(message), Status::kLoadFailed);
  }
}

TEST(a_refusal_for_memory_tells_what_was_asked_for_and_the_largest_block) {
  const Outcome said = refusal("ESP-DL cannot build the model", "root_alloc failed", {288512, 163840});
  CHECK_EQ(said.status, Status::kOutOfMemory);
  CHECK_EQ(said.text.view(), std::string_view("ESP-DL cannot build the model (288512 bytes asked for, largest block 163840 bytes): root_alloc failed"));
  const Outcome arena = refusal("TFLM refuses the model", "Failed to resize buffer. Requested: 98304, available 80000, missing: 18304", {0, 80000});
  CHECK_EQ(arena.status, Status::kOutOfMemory);
  CHECK_EQ(arena.text.view().substr(0, 52), std::string_view("TFLM refuses the model (largest block 80000 bytes): "));
}

TEST(words_that_nobody_knows_after_a_block_was_refused_are_out_of_memory) {
  CHECK_EQ(refusal("refused", "something went wrong", {4096, 1024}).status, Status::kOutOfMemory);
  CHECK_EQ(refusal("refused", "", {4096, 1024}).status, Status::kOutOfMemory);
}

TEST(a_block_that_was_refused_on_the_way_does_not_hide_a_missing_operator) {
  const Outcome said = refusal("refused", "Do not support Greater, please implement and register it first.", {4096, 1024});
  CHECK_EQ(said.status, Status::kUnsupportedOperator);
  CHECK_EQ(said.text.view().find("largest block"), std::string_view::npos);
}

TEST(without_a_lack_of_memory_a_refusal_is_what_its_caller_says) {
  CHECK_EQ(refusal("refused", "", {0, 1024}).status, Status::kLoadFailed);
  CHECK_EQ(refusal("self-test failed", "outputs differ", {0, 1024}, Status::kEngineFailed).status, Status::kEngineFailed);
  CHECK_EQ(refusal("self-test failed", "Failed to alloc 4.00KB memory", {4096, 1024}, Status::kEngineFailed).status, Status::kOutOfMemory);
}
