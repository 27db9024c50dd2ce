// Where model images live on a chip: the storage of the server, and what an engine needs beyond it.
#pragma once

#include <cstdio>
#include <string_view>

#include "hil/storage.h"
#include "hil_esp/model_partition.h"

namespace hil::esp {

class Images final : public Storage {
 public:
  enum Location : std::uint8_t { kPartition = 0, kRam = 1, kRodata = 2, kFile = 3 };

  // `embedded` is the model that was built in, or empty.
  explicit Images(Bytes embedded) : embedded_(embedded) {}

  std::string_view location_name(std::uint8_t location) const override;
  Outcome begin(std::uint8_t location, std::uint32_t length, std::uint32_t crc, bool& held) override;
  Outcome write(std::uint8_t location, std::uint32_t offset, Bytes bytes) override;
  Outcome finish(std::uint8_t location) override;
  void abort(std::uint8_t location) override;
  Outcome open(std::uint8_t location, std::string_view path, std::uint32_t& length) override;
  Outcome read(std::uint8_t location, std::uint32_t offset, MutableBytes into) override;

  // The opened image in the address space: where it lies, or, for the partition, mapped until `unmap`. A file has no address.
  Outcome map(std::uint8_t location, std::uint32_t length, const std::uint8_t*& address);
  void unmap() { partition_.unmap(); }

 private:
  Outcome begin_in_ram(std::uint32_t length);
  Outcome open_file(std::string_view path, std::uint32_t& length);

  Bytes embedded_;
  ModelPartition partition_;
  MutableBytes ram_;
  std::uint32_t ram_crc_ = 0;
  bool ram_complete_ = false;
  std::FILE* file_ = nullptr;
};

}  // namespace hil::esp
