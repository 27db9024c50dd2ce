// The flash partition `model`: an image at its beginning, and what is known of it in its last sector.
#pragma once

#include <cstdint>

#include "esp_partition.h"
#include "hil/bytes.h"
#include "hil/status.h"

namespace hil::esp {

// The first 16 bytes of the last sector, little-endian: magic, length, CRC-32 of the image, CRC-32 of these 12 bytes.
// A sector of FF says nothing: an .espdl image that a flasher wrote tells its length itself.
struct Label {
  static constexpr std::uint32_t kComplete = 0x4D4C4948;  // "HILM"
  static constexpr std::uint32_t kBegun = 0x424C4948;     // "HILB": an upload that did not come to its end

  std::uint32_t magic;
  std::uint32_t length;
  std::uint32_t image_crc;
  std::uint32_t label_crc;
};

class ModelPartition {
 public:
  static constexpr const char* kName = "model";

  ModelPartition();

  bool exists() const { return partition_ != nullptr; }

  Outcome begin(std::uint32_t length, std::uint32_t crc, bool& held);
  // Erases what it touches for the first time: an erased 64 KiB block costs the line less than a partition at once.
  Outcome write(std::uint32_t offset, Bytes bytes);
  Outcome finish();

  Outcome open(std::uint32_t& length);
  Outcome read(std::uint32_t offset, MutableBytes into) const;

  // Puts the image into the address space; only its own pages, because a chip has few (ESP32: 4 MiB, the program's included).
  Outcome map(std::uint32_t length, const std::uint8_t*& address);
  void unmap();

 private:
  static constexpr std::uint32_t kSectorBytes = 4096;
  static constexpr std::uint32_t kBlockBytes = 65536;
  static constexpr std::uint32_t kMaxBlocks = 256;  // 16 MiB

  std::uint32_t capacity() const { return partition_->size - kSectorBytes; }
  bool read_label(Label& label) const;
  Outcome write_label(std::uint32_t magic);
  Outcome erase_blocks(std::uint32_t begin, std::uint32_t end);
  bool holds(std::uint32_t length, std::uint32_t crc) const;
  Outcome image_crc(std::uint32_t length, std::uint32_t& crc);
  Outcome length_by_header(std::uint32_t& length) const;

  const esp_partition_t* partition_;
  esp_partition_mmap_handle_t mapping_ = 0;
  const std::uint8_t* mapped_ = nullptr;
  std::uint32_t mapped_bytes_ = 0;
  std::uint32_t length_ = 0;  // of the image being written
  std::uint32_t crc_ = 0;
  std::uint32_t erased_[kMaxBlocks / 32] = {};
};

}  // namespace hil::esp
