#include "hil_esp/images.h"

#include <cerrno>
#include <cstring>

#include "esp_heap_caps.h"
#include "hil/crc32.h"
#include "sdkconfig.h"

namespace hil::esp {
namespace {

#if CONFIG_HIL_SPIFFS
constexpr bool kHasFiles = true;
#else
constexpr bool kHasFiles = false;
#endif
constexpr std::size_t kAlignment = 16;  // ESP-DL uses parameters in place only there

Outcome no_such_location() { return failure(Status::kBadObject, "no such location, or it cannot be written"); }

}  // namespace

std::string_view Images::location_name(std::uint8_t location) const {
  switch (location) {
    case kPartition: return "partition";
    case kRam: return "ram";
    case kRodata: return embedded_.empty() ? "" : "rodata";
    case kFile: return kHasFiles ? "file" : "";
    default: return "";
  }
}

Outcome Images::begin(std::uint8_t location, std::uint32_t length, std::uint32_t crc, bool& held) {
  if (location == kPartition) return partition_.begin(length, crc, held);
  if (location != kRam) return no_such_location();
  held = ram_complete_ && ram_.size() == length && ram_crc_ == crc && crc32(ram_) == crc;
  if (held) return success();
  ram_crc_ = crc;
  return begin_in_ram(length);
}

Outcome Images::begin_in_ram(std::uint32_t length) {
  abort(kRam);
  constexpr std::uint32_t kPlaces[] = {MALLOC_CAP_SPIRAM, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT};
  for (const std::uint32_t place : kPlaces) {
    auto* const memory = static_cast<std::uint8_t*>(heap_caps_aligned_alloc(kAlignment, length, place));
    if (memory == nullptr) continue;
    ram_ = MutableBytes(memory, length);
    return success();
  }
  Outcome outcome = failure(Status::kOutOfMemory, "no block of that size; the largest has ");
  outcome.text.append(heap_caps_get_largest_free_block(MALLOC_CAP_8BIT)).append(" bytes");
  return outcome;
}

Outcome Images::write(std::uint8_t location, std::uint32_t offset, Bytes bytes) {
  if (location == kPartition) return partition_.write(offset, bytes);
  if (location != kRam) return no_such_location();
  copy_bytes(ram_.data() + offset, bytes);
  return success();
}

Outcome Images::finish(std::uint8_t location) {
  if (location == kPartition) return partition_.finish();
  if (location != kRam) return no_such_location();
  ram_complete_ = true;
  return success();
}

void Images::abort(std::uint8_t location) {
  if (location != kRam) return;  // in the partition the label says that the upload did not end
  heap_caps_free(ram_.data());
  ram_ = {};
  ram_complete_ = false;
}

Outcome Images::open(std::uint8_t location, std::string_view path, std::uint32_t& length) {
  switch (location) {
    case kPartition: return partition_.open(length);
    case kRam:
      length = static_cast<std::uint32_t>(ram_.size());
      return ram_complete_ ? success() : failure(Status::kNoModel, "no model was uploaded to RAM");
    case kRodata:
      length = static_cast<std::uint32_t>(embedded_.size());
      return length != 0 ? success() : failure(Status::kNoModel, "no model was built into the application");
    case kFile: return open_file(path, length);
    default: return no_such_location();
  }
}

Outcome Images::open_file(std::string_view path, std::uint32_t& length) {
  char name[64];
  if (path.size() >= sizeof name) return failure(Status::kBadRequest, "the path is longer than 63 bytes");
  copy_bytes(reinterpret_cast<std::uint8_t*>(name), as_bytes(path));
  name[path.size()] = '\0';
  if (file_ != nullptr) std::fclose(file_);
  file_ = std::fopen(name, "rb");
  if (file_ == nullptr || std::fseek(file_, 0, SEEK_END) != 0) {
    Outcome outcome = failure(Status::kNoModel, path);
    outcome.text.append(": ").append(std::strerror(errno));
    return outcome;
  }
  length = static_cast<std::uint32_t>(std::ftell(file_));
  return success();
}

Outcome Images::read(std::uint8_t location, std::uint32_t offset, MutableBytes into) {
  if (location == kPartition) return partition_.read(offset, into);
  if (location == kRam || location == kRodata) {
    const Bytes image = location == kRam ? Bytes(ram_) : embedded_;
    copy_bytes(into.data(), image.part(offset, into.size()));
    return success();
  }
  if (location == kFile && file_ != nullptr && std::fseek(file_, static_cast<long>(offset), SEEK_SET) == 0 &&
      std::fread(into.data(), 1, into.size(), file_) == into.size()) {
    return success();
  }
  return failure(Status::kStorageFailed, "the image cannot be read there");
}

Outcome Images::map(std::uint8_t location, std::uint32_t length, const std::uint8_t*& address) {
  if (location == kPartition) return partition_.map(length, address);
  address = location == kRam ? ram_.data() : location == kRodata ? embedded_.data() : nullptr;
  return address != nullptr ? success() : no_such_location();
}

}  // namespace hil::esp
