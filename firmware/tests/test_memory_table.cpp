// The table of docs/FIRMWARE.md: what boards of each size of PSRAM start with, give a model, and say of themselves.
#include <fstream>
#include <sstream>

#include "check.h"
#include "heap_model.h"
#include "hil/lasting.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;
constexpr std::size_t kInternal = 240 * kKiB;  // of a chip's internal memory, what is free when the application starts
constexpr LastingSizes kLasting{8 * kKiB, 64 * kKiB, 2 * kKiB};
constexpr RoomLimits kLimits{2 * kMiB, 2 * kMiB};
constexpr std::uint32_t kDigit = 28 * 28;
constexpr std::uint32_t kPicture = 224 * 224 * 3;

struct Told {
  bool started = false;
  bool loaded = false;
  std::uint64_t slots = 0;
  std::uint64_t capture_bytes = 0;
};

std::uint64_t field(const ByteVector& info, std::string_view name) {
  const std::string_view all = as_text(view(info));
  const std::size_t at = all.find(name) + name.size();
  const unsigned kind = info[at] & 31u;
  if (kind < 24) return kind;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < std::size_t{1} << (kind - 24); ++i) value = value << 8 | info[at + 1 + i];
  return value;
}

// A board starts, and a model with an arena of one block is loaded.
Told start(std::size_t psram, std::size_t arena, std::uint32_t input_bytes) {
  Told told;
  ModelHeap heap(psram, kInternal);
  Buffers buffers;
  told.started = take_lasting(heap, kLasting, buffers) == nullptr;
  if (!told.started) return told;
  Host host(heap, kLimits);
  host.engine.shape.inputs = {input_bytes};
  host.engine.arena_bytes = arena;
  host.hello();
  if (host.write(Object::kModel, 1, 0, view(host.model)) != Status::kOk) return told;
  told.loaded = host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).status() == Status::kOk;
  const ByteVector info = host.read(Object::kInfo);
  told.slots = field(info, "slots");
  told.capture_bytes = field(info, "capture_bytes");
  return told;
}

std::size_t largest_arena(std::size_t psram, std::uint32_t input_bytes) {
  std::size_t fits = 0;
  for (std::size_t step = 32 * kMiB; step >= kKiB / 2; step /= 2) {
    if (start(psram, fits + step, input_bytes).loaded) fits += step;
  }
  return fits;
}

std::string grouped(std::size_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::string row(std::size_t psram) {
  std::ostringstream line;
  const Told digit = start(psram, 32 * kKiB, kDigit);
  const std::size_t most = largest_arena(psram, kPicture);
  const Told picture = start(psram, most, kPicture);
  line << "| " << psram / kMiB << " MB | " << (digit.started ? "yes" : "no") << " | "
       << grouped(largest_arena(psram, kDigit) / kKiB) << " | " << grouped(most / kKiB) << " | " << digit.slots << ", "
       << grouped(digit.capture_bytes / kKiB) << " | ";
  line << picture.slots << ", " << (picture.capture_bytes != 0 ? "yes" : "no") << " |";
  return line.str();
}

}  // namespace

TEST(the_table_of_the_documentation_is_what_boards_do) {
  std::ifstream file(HIL_FIRMWARE_MD);
  const std::string page((std::istreambuf_iterator<char>(file)), {});
  CHECK(!page.empty());
  for (const std::size_t psram : {std::size_t{0}, 2 * kMiB, 4 * kMiB, 8 * kMiB, 16 * kMiB, 32 * kMiB}) {
    const std::string line = row(psram);
    const bool told = page.find(line + "\n") != std::string::npos;
    CHECK(told);
    if (!told) std::cerr << line << "\n";
  }
}
