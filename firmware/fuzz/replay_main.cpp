// Runs a fuzz target over files and folders, and then over mutations of them; inputs that reach new code join the set
// they are made from (__sanitizer_cov_trace_pc of GCC, when the core is built with it).
//
//     fuzz_server [--runs N] [--seed S] [--keep FOLDER] PATH...
//
// The input in progress is written to crash-input before each run that might be the last, that is: on a signal.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" void __sanitizer_cov_trace_pc();

namespace {

namespace fs = std::filesystem;
using Input = std::vector<std::uint8_t>;

constexpr std::size_t kLongest = 2048;
constexpr std::size_t kMapSize = 1 << 16;

bool seen[kMapSize];
bool found_new = false;
std::uintptr_t previous = 0;
Input current;

void keep_crash(int signal_number) {
  std::ofstream("crash-input", std::ios::binary)
      .write(reinterpret_cast<const char*>(current.data()), static_cast<std::streamsize>(current.size()));
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

void run(const Input& input) {
  current = input;
  previous = 0;
  found_new = false;
  LLVMFuzzerTestOneInput(current.data(), current.size());
}

void load(const fs::path& path, std::vector<Input>& inputs) {
  if (fs::is_directory(path)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) load(entry.path(), inputs);
    return;
  }
  std::ifstream file(path, std::ios::binary);
  inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }

  Input mutated(const std::vector<Input>& inputs) {
    Input input = inputs[below(inputs.size())];
    for (std::size_t rounds = 1 + below(6); rounds > 0; --rounds) change(input, inputs);
    if (input.size() > kLongest) input.resize(kLongest);
    return input;
  }

 private:
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }

  void change(Input& input, const std::vector<Input>& inputs) {
    const std::size_t at = below(input.size() + 1);
    const auto here = input.begin() + static_cast<std::ptrdiff_t>(at);
    switch (input.empty() ? 0 : below(7)) {
      case 0:
        input.insert(here, byte());
        break;
      case 1:
        input[at % input.size()] ^= static_cast<std::uint8_t>(1u << below(8));
        break;
      case 2:
        input[at % input.size()] = byte();
        break;
      case 3: {
        static constexpr std::uint8_t kEdges[] = {0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF};
        input[at % input.size()] = kEdges[below(sizeof kEdges)];
        break;
      }
      case 4:
        input.erase(here, here + static_cast<std::ptrdiff_t>(below(input.size() - at + 1)));
        break;
      case 5: {
        const Input copy(here, here + static_cast<std::ptrdiff_t>(below(input.size() - at + 1)));
        const std::size_t to = below(input.size() + 1);
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(to), copy.begin(), copy.end());
        break;
      }
      default: {
        const Input& other = inputs[below(inputs.size())];
        input.resize(at);
        const std::size_t from = below(other.size() + 1);
        input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      }
    }
  }

  std::mt19937_64 random_;
};

void keep(const std::string& folder, const Input& input, std::size_t number) {
  if (folder.empty()) return;
  std::ofstream(fs::path(folder) / ("found-" + std::to_string(number)), std::ios::binary)
      .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
}

}  // namespace

// Marks each pair of places that follow one another.
extern "C" void __sanitizer_cov_trace_pc() {
  const std::uintptr_t here = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  const std::size_t edge = (here ^ previous << 5 ^ here >> 16) % kMapSize;
  previous = here;
  if (!seen[edge]) {
    seen[edge] = true;
    found_new = true;
  }
}

int main(int argc, char** argv) {
  std::uint64_t runs = 0;
  std::uint64_t seed = 1;
  std::string folder;
  std::vector<Input> inputs;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--runs" && i + 1 < argc) {
      runs = std::stoull(argv[++i]);
    } else if (argument == "--seed" && i + 1 < argc) {
      seed = std::stoull(argv[++i]);
    } else if (argument == "--keep" && i + 1 < argc) {
      folder = argv[++i];
    } else {
      load(argument, inputs);
    }
  }
  for (const int number : {SIGABRT, SIGSEGV, SIGALRM}) std::signal(number, keep_crash);
  const std::size_t given = inputs.size();
  for (const Input& input : inputs) run(input);
  if (inputs.empty()) inputs.emplace_back();
  Mutator mutator(seed);
  for (std::uint64_t i = 0; i < runs; ++i) {
    alarm(20);  // a run that takes this long hangs
    const Input input = mutator.mutated(inputs);
    run(input);
    if (found_new) {
      keep(folder, input, inputs.size());
      inputs.push_back(input);
    }
  }
  std::cout << given << " files, " << runs << " mutations, " << inputs.size() << " inputs in the set, "
            << std::count(std::begin(seen), std::end(seen), true) << " edges\n";
  return 0;
}
