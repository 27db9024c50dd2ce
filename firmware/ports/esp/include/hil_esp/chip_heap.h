// ESP-IDF's heap, for what the server takes while a model is loaded.
#pragma once

#include "hil/heap.h"

namespace hil::esp {

class ChipHeap final : public Heap {
 public:
  std::size_t total(Memory memory) const override;
  std::size_t largest(Memory memory) const override;
  MutableBytes take(Memory memory, std::size_t bytes) override;
  void give_back(MutableBytes block) override;
};

}  // namespace hil::esp
