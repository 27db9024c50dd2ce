// The flash partition `golden`, where the inputs of tests stay.
#pragma once

#include "esp_partition.h"
#include "hil/golden_store.h"

namespace hil::esp {

class GoldenPartition final : public Region {
 public:
  static constexpr const char* kName = "golden";

  GoldenPartition();

  bool exists() const { return partition_ != nullptr; }

  std::uint32_t size_bytes() const override { return partition_->size; }
  std::uint32_t sector_bytes() const override { return partition_->erase_size; }
  Outcome erase(std::uint32_t offset, std::uint32_t length) override;
  Outcome write(std::uint32_t offset, Bytes bytes) override;
  Outcome read(std::uint32_t offset, MutableBytes into) override;

 private:
  const esp_partition_t* partition_;
};

}  // namespace hil::esp
