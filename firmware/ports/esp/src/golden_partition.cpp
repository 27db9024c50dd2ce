#include "hil_esp/golden_partition.h"

#include "esp_err.h"

namespace hil::esp {
namespace {

Outcome told(const char* what, esp_err_t error) {
  if (error == ESP_OK) return success();
  Outcome outcome = failure(Status::kStorageFailed, what);
  outcome.text.append(": ").append(esp_err_to_name(error));
  return outcome;
}

}  // namespace

GoldenPartition::GoldenPartition()
    : partition_(esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, kName)) {}

Outcome GoldenPartition::erase(std::uint32_t offset, std::uint32_t length) {
  return told("erase", esp_partition_erase_range(partition_, offset, length));
}

Outcome GoldenPartition::write(std::uint32_t offset, Bytes bytes) {
  return told("write", esp_partition_write(partition_, offset, bytes.data(), bytes.size()));
}

Outcome GoldenPartition::read(std::uint32_t offset, MutableBytes into) {
  return told("read", esp_partition_read(partition_, offset, into.data(), into.size()));
}

}  // namespace hil::esp
