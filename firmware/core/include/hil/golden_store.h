// Sets of golden inputs that stay on the device, each named by the SHA-256 of its bytes. docs/PROTOCOL.md, section 8.
#pragma once

#include <cstdint>

#include "hil/bytes.h"
#include "hil/sha256.h"
#include "hil/status.h"

namespace hil {

// Memory that erases in sectors and is written where it is erased: a flash partition, or PSRAM that does as if.
class Region {
 public:
  virtual std::uint32_t size_bytes() const = 0;
  virtual std::uint32_t sector_bytes() const = 0;
  virtual Outcome erase(std::uint32_t offset, std::uint32_t length) = 0;  // whole sectors
  virtual Outcome write(std::uint32_t offset, Bytes bytes) = 0;           // onto erased bytes
  virtual Outcome read(std::uint32_t offset, MutableBytes into) = 0;

 protected:
  ~Region() = default;
};

// Sets stand one behind the other, each from the start of a sector: header, bytes. What does not fit behind the last one
// begins at the start again, over what is there. Every set is hashed before it is used, so an old one that was partly
// overwritten is never taken for whole.
class GoldenStore {
 public:
  // `region` is null where there is no memory for it.
  explicit GoldenStore(Region* region) : region_(region) {}

  bool exists() const { return region_ != nullptr; }
  // What a set may have at most.
  std::uint32_t capacity() const;
  // Makes the set of that name and length the open one, if its header says that it is there.
  Outcome open(const Sha256::Digest& name, std::uint32_t length, bool& found);
  Outcome read(std::uint32_t offset, MutableBytes into) const;

  // Writing: begin, write (each byte once, inside the length; also read), finish or abort. The set is the open one then.
  Outcome begin(const Sha256::Digest& name, std::uint32_t length);
  Outcome write(std::uint32_t offset, Bytes bytes);
  Outcome finish();

 private:
  static constexpr std::uint32_t kHeaderBytes = 64;
  static constexpr std::uint32_t kMagic = 0x474C4948;  // "HILG"
  static constexpr std::uint32_t kEraseBytes = 65536;  // at once: flash erases a block faster than its sectors

  struct Header {
    std::uint32_t length;
    Sha256::Digest name;
    bool whole;
  };

  Outcome read_header(std::uint32_t at, Header& header, bool& valid) const;
  std::uint32_t extent(std::uint32_t length) const;
  Outcome erase_to(std::uint32_t end);

  Region* region_;
  std::uint32_t at_ = 0;      // of the open set
  std::uint32_t erased_ = 0;  // while writing: everything from at_ to here
};

}  // namespace hil
