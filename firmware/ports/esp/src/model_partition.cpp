#include "hil_esp/model_partition.h"

#include <cstring>

#include "esp_err.h"
#include "hil/crc32.h"

namespace hil::esp {
namespace {

Outcome flash_failed(const char* what, esp_err_t error) {
  Outcome outcome = failure(Status::kStorageFailed, what);
  outcome.text.append(": ").append(esp_err_to_name(error));
  return outcome;
}

std::uint32_t label_crc(const Label& label) {
  return crc32(Bytes(reinterpret_cast<const std::uint8_t*>(&label), offsetof(Label, label_crc)));
}

}  // namespace

ModelPartition::ModelPartition()
    : partition_(esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, kName)) {}

Outcome ModelPartition::begin(std::uint32_t length, std::uint32_t crc, bool& held) {
  if (!exists()) return failure(Status::kStorageFailed, "no partition `model` in the partition table");
  if (length > capacity()) {
    Outcome outcome = failure(Status::kTooLarge, "the partition `model` holds ");
    outcome.text.append(capacity()).append(" bytes");
    return outcome;
  }
  length_ = length;
  crc_ = crc;
  held = holds(length, crc);
  Label label;
  if (held) {
    const bool labelled = read_label(label) && label.magic == Label::kComplete && label.length == length && label.image_crc == crc;
    return labelled ? success() : write_label(Label::kComplete);
  }
  std::memset(erased_, 0, sizeof erased_);
  return write_label(Label::kBegun);
}

Outcome ModelPartition::write(std::uint32_t offset, Bytes bytes) {
  if (bytes.empty()) return success();
  Outcome outcome = erase_blocks(offset / kBlockBytes, (offset + bytes.size() - 1) / kBlockBytes);
  if (!outcome.ok()) return outcome;
  const esp_err_t error = esp_partition_write(partition_, offset, bytes.data(), bytes.size());
  return error == ESP_OK ? success() : flash_failed("write", error);
}

Outcome ModelPartition::finish() { return write_label(Label::kComplete); }

Outcome ModelPartition::open(std::uint32_t& length) {
  if (!exists()) return failure(Status::kNoModel, "no partition `model` in the partition table");
  Label label;
  if (!read_label(label)) return length_by_header(length);
  if (label.magic == Label::kBegun) {
    return failure(Status::kNoModel, "an upload to the partition did not come to its end; upload or flash the model again");
  }
  std::uint32_t there = 0;
  Outcome outcome = image_crc(label.length, there);
  if (!outcome.ok()) return outcome;
  length = label.length;
  if (there == label.image_crc) return success();
  std::uint32_t by_header = 0;
  if (length_by_header(by_header).ok() && by_header != label.length) {  // a flasher put another image there
    length = by_header;
    return success();
  }
  return failure(Status::kCrcMismatch, "the image in the partition `model` is damaged");
}

Outcome ModelPartition::read(std::uint32_t offset, MutableBytes into) const {
  if (offset + into.size() <= mapped_bytes_) {
    copy_bytes(into.data(), Bytes(mapped_ + offset, into.size()));
    return success();
  }
  const esp_err_t error = esp_partition_read(partition_, offset, into.data(), into.size());
  return error == ESP_OK ? success() : flash_failed("read", error);
}

Outcome ModelPartition::map(std::uint32_t length, const std::uint8_t*& address) {
  if (length != 0 && length == mapped_bytes_) {
    address = mapped_;
    return success();
  }
  unmap();
  const void* mapped = nullptr;
  const esp_err_t error = esp_partition_mmap(partition_, 0, length, ESP_PARTITION_MMAP_DATA, &mapped, &mapping_);
  address = static_cast<const std::uint8_t*>(mapped);
  if (error == ESP_OK) {
    mapped_ = address;
    mapped_bytes_ = length;
    return success();
  }
  mapping_ = 0;
  Outcome outcome = failure(Status::kOutOfMemory, "no address space for the image: ");
  outcome.text.append(length).append(" bytes, ").append(esp_err_to_name(error));
  return outcome;
}

void ModelPartition::unmap() {
  if (mapping_ != 0) esp_partition_munmap(mapping_);
  mapping_ = 0;
  mapped_ = nullptr;
  mapped_bytes_ = 0;
}

bool ModelPartition::read_label(Label& label) const {
  if (esp_partition_read(partition_, capacity(), &label, sizeof label) != ESP_OK) return false;
  const bool known = label.magic == Label::kComplete || label.magic == Label::kBegun;
  return known && label.label_crc == label_crc(label) && label.length <= capacity();
}

Outcome ModelPartition::write_label(std::uint32_t magic) {
  Label label{magic, length_, crc_, 0};
  label.label_crc = label_crc(label);
  esp_err_t error = esp_partition_erase_range(partition_, capacity(), kSectorBytes);
  if (error == ESP_OK) error = esp_partition_write(partition_, capacity(), &label, sizeof label);
  return error == ESP_OK ? success() : flash_failed("label", error);
}

Outcome ModelPartition::erase_blocks(std::uint32_t begin, std::uint32_t end) {
  for (std::uint32_t block = begin; block <= end; ++block) {
    if (erased_[block / 32] >> (block % 32) & 1) continue;
    const std::uint32_t at = block * kBlockBytes;
    const std::uint32_t left = capacity() - at;  // the last sector is the label's
    const esp_err_t error = esp_partition_erase_range(partition_, at, left < kBlockBytes ? left : kBlockBytes);
    if (error != ESP_OK) return flash_failed("erase", error);
    erased_[block / 32] |= std::uint32_t{1} << (block % 32);
  }
  return success();
}

// Through the address space: each read of its own would stop the other core, which takes longer than the bytes do.
Outcome ModelPartition::image_crc(std::uint32_t length, std::uint32_t& crc) {
  const std::uint8_t* image = nullptr;
  Outcome outcome = map(length, image);
  if (outcome.ok()) crc = crc32(Bytes(image, length));
  return outcome;
}

// Through a mapping of its own: a loaded model still uses the other, even while it is unloaded.
bool ModelPartition::holds(std::uint32_t length, std::uint32_t crc) const {
  const void* image = nullptr;
  esp_partition_mmap_handle_t mapping = 0;
  if (esp_partition_mmap(partition_, 0, length, ESP_PARTITION_MMAP_DATA, &image, &mapping) != ESP_OK) return false;
  const bool same = crc32(Bytes(static_cast<const std::uint8_t*>(image), length)) == crc;
  esp_partition_munmap(mapping);
  return same;
}

// EDL2: magic, mode, length of what follows, 4 zero bytes. EDL1: without the zero bytes.
Outcome ModelPartition::length_by_header(std::uint32_t& length) const {
  std::uint8_t header[12];
  Outcome outcome = read(0, MutableBytes(header));
  if (!outcome.ok()) return outcome;
  const std::string_view magic = as_text(Bytes(header, 4));
  if (magic != "EDL1" && magic != "EDL2") {
    return failure(Status::kNoModel, "no model in the partition: neither an .espdl image nor a label");
  }
  Reader rest(Bytes(header + 8, 4));
  const std::uint64_t whole = std::uint64_t{rest.u32()} + (magic == "EDL2" ? 16 : 12);
  if (whole > capacity()) return failure(Status::kLoadFailed, "the .espdl image in the partition is cut short");
  length = static_cast<std::uint32_t>(whole);
  return success();
}

}  // namespace hil::esp
