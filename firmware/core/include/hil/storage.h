// Where model images live: location 0 is the flash partition `model`, 1 is RAM or PSRAM; a port may have more (SD
// card).
#pragma once

#include <cstdint>
#include <string_view>

#include "hil/bytes.h"
#include "hil/status.h"

namespace hil {

class Storage {
 public:
  // Short name for INFO ("partition", "ram"), empty if there is no such location.
  virtual std::string_view location_name(std::uint8_t location) const = 0;

  // Writing an image: begin, write (any order, each byte once, inside the announced length), then finish or abort.
  // begin sets `held` if the location already holds an intact image of this length and CRC-32; nothing is written then.
  virtual Outcome begin(std::uint8_t location, std::uint32_t length, std::uint32_t crc, bool& held) = 0;
  virtual Outcome write(std::uint8_t location, std::uint32_t offset, Bytes bytes) = 0;
  virtual Outcome finish(std::uint8_t location) = 0;  // all bytes are there and their CRC is right
  virtual void abort(std::uint8_t location) = 0;

  // Reading: open tells the length of the image (kNoModel if there is none); read also works on bytes just written.
  virtual Outcome open(std::uint8_t location, std::string_view path, std::uint32_t& length) = 0;
  virtual Outcome read(std::uint8_t location, std::uint32_t offset, MutableBytes into) = 0;

 protected:
  ~Storage() = default;
};

}  // namespace hil
