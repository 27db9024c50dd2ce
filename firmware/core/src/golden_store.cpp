#include "hil/golden_store.h"

#include "hil/crc32.h"

namespace hil {

// The header, little-endian: magic, length, name (32 bytes), CRC-32 of these 40 bytes, 0 when the set is whole.
constexpr std::uint32_t kNamedBytes = 40;
constexpr std::uint32_t kStateAt = 44;

std::uint32_t GoldenStore::capacity() const {
  if (region_ == nullptr || region_->size_bytes() < kHeaderBytes) return 0;
  return region_->size_bytes() - kHeaderBytes;
}

std::uint32_t GoldenStore::extent(std::uint32_t length) const {
  const std::uint32_t sector = region_->sector_bytes();
  return (kHeaderBytes + length + sector - 1) / sector * sector;
}

Outcome GoldenStore::read_header(std::uint32_t at, Header& header, bool& valid) const {
  std::uint8_t raw[kStateAt + 4];
  valid = false;
  if (at >= region_->size_bytes() || region_->size_bytes() - at < kHeaderBytes) return success();
  Outcome outcome = region_->read(at, MutableBytes(raw));
  if (!outcome.ok()) return outcome;
  const Bytes bytes(raw, sizeof raw);
  Reader reader(bytes);
  const std::uint32_t magic = reader.u32();
  header.length = reader.u32();
  copy_bytes(header.name.data(), reader.bytes(header.name.size()));
  const std::uint32_t crc = reader.u32();
  header.whole = reader.u32() == 0;
  const std::uint32_t room = region_->size_bytes() - at - kHeaderBytes;
  valid = magic == kMagic && crc == crc32(bytes.first(kNamedBytes)) && header.length <= room;
  return success();
}

Outcome GoldenStore::open(const Sha256::Digest& name, std::uint32_t length, bool& found) {
  found = false;
  at_ = 0;
  while (true) {
    Header header{};
    bool valid = false;
    Outcome outcome = read_header(at_, header, valid);
    // behind a set that was never completed nothing follows: the next one is put in its place
    if (!outcome.ok() || !valid || !header.whole) return outcome;
    if (header.name == name && header.length == length) {
      found = true;
      return outcome;
    }
    at_ += extent(header.length);
  }
}

Outcome GoldenStore::read(std::uint32_t offset, MutableBytes into) const {
  return region_->read(at_ + kHeaderBytes + offset, into);
}

Outcome GoldenStore::begin(const Sha256::Digest& name, std::uint32_t length) {
  bool found = false;
  Outcome outcome = open(name, length, found);
  if (!outcome.ok()) return outcome;
  const std::uint32_t size = region_->size_bytes();
  if (length > capacity() || extent(length) > size) return failure(Status::kTooLarge, "the store is smaller");
  // a damaged set of that name is written again in its place
  if (at_ > size || extent(length) > size - at_) at_ = 0;
  erased_ = at_;
  outcome = erase_to(at_ + kHeaderBytes);
  if (!outcome.ok()) return outcome;
  std::uint8_t raw[kStateAt];
  Writer header{MutableBytes(raw)};
  header.u32(kMagic).u32(length).bytes(Bytes(name.data(), name.size()));
  header.u32(crc32(Bytes(raw, kNamedBytes)));
  return region_->write(at_, Bytes(raw, sizeof raw));
}

Outcome GoldenStore::erase_to(std::uint32_t end) {
  while (erased_ < end) {
    const std::uint32_t sector = region_->sector_bytes();
    const std::uint32_t needed = (end - erased_ + sector - 1) / sector * sector;
    const std::uint32_t left = (region_->size_bytes() - erased_) / sector * sector;
    std::uint32_t count = needed < kEraseBytes ? kEraseBytes / sector * sector : needed;
    if (count < sector) count = sector;
    if (count > left) count = left;
    if (count == 0) return failure(Status::kStorageFailed, "the store ends in the middle of a sector");
    Outcome outcome = region_->erase(erased_, count);
    if (!outcome.ok()) return outcome;
    erased_ += count;
  }
  return success();
}

Outcome GoldenStore::write(std::uint32_t offset, Bytes bytes) {
  const std::uint32_t begin = at_ + kHeaderBytes + offset;
  Outcome outcome = erase_to(begin + static_cast<std::uint32_t>(bytes.size()));
  return outcome.ok() ? region_->write(begin, bytes) : outcome;
}

Outcome GoldenStore::finish() {
  const std::uint8_t zero[4] = {};
  return region_->write(at_ + kStateAt, Bytes(zero));
}

}  // namespace hil
