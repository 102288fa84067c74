// One packed sparse layer: values in row-group pattern order, their moments, and the transposed
// view of slots into them.
#pragma once

#include <optional>
#include <string>

#include "kernels/table.h"
#include "memory/arena.h"

namespace edgedst {

class TopologyWorkspace;

// How a view's groups are packed: by its shape, or as one of both whatever the shape (comparisons).
// Layers that exist keep what they have.
enum class Form { kChosen, kPlain, kGroups };
void pin_form(Form form);

// What a network's layers are for. Those of a target have no moments and no transposed view: an
// averaged one has room for the union of two topologies, a copied one always has its network's.
enum class Role { kLearner, kAveraged, kCopied };

struct Layer {
  Layer(Arena& arena, const std::string& name, int in, int out, uint32_t nnz, Role role,
        bool batch_norm = false);

  Groups forward_view() const;     // rows are outputs
  Groups transposed_view() const;  // rows are inputs; weight i is values[slots[i]]
  bool dense() const { return budget == static_cast<uint64_t>(in) * out; }

  int in, out;
  Role role;
  uint32_t budget;    // connections that the layer keeps
  uint32_t capacity;  // connections that fit: an averaged target's union may exceed its budget
  uint32_t nnz = 0;   // connections stored now
  float *values, *adam_m = nullptr, *adam_v = nullptr;  // [capacity]; values[nnz] = 0: see `source`
  float *bias, *bias_adam_m = nullptr, *bias_adam_v = nullptr;
  // Batch normalisation, [out]; null without. The last: of the newest forward pass, for the way
  // back.
  float *running_mean = nullptr, *running_variance = nullptr, *inverse = nullptr;
  uint32_t *column_start, *weight_start;
  uint16_t* columns;
  uint32_t *row_start_t = nullptr, *weight_start_t = nullptr, *slots = nullptr;
  uint16_t* rows_t = nullptr;
  bool plain, plain_t;         // whether a view's groups are plain rows
  uint32_t* source = nullptr;  // averaged: where the same connection lies in the source's values;
                               // its nnz where nowhere
  float small_magnitude = 0;   // averaged: the last pruning threshold, a guess that only saves time
};

// Scratch for changes of topology, for checkpoints and for a backward pass. The four arrays hold
// one layer, row-major. With `over`, an offset in the arena, all but `values` lie over the regions
// from there on, which nobody needs while a topology changes or is saved.
class TopologyWorkspace {
 public:
  TopologyWorkspace(Arena& arena, const std::string& name, uint32_t nnz, int rows, int columns,
                    std::optional<size_t> over = {});

  // Which of a group's four lanes use an index, and where the weight of (lane, index) lies.
  struct Table {
    uint8_t* mask;
    uint32_t* slot;  // [4][width]
  };

  // What the memory of `values` holds while no layer is unpacked. An array of its own for either
  // would take 5,000 transitions from the replay: docs/decisions/0015.
  float* transposed_weights() const { return values; }  // backward: in the transposed view's order
  float* magnitudes() const { return values; }          // maintain: those near the threshold

  uint32_t capacity;
  int width;
  uint32_t* indices;  // row * in + column, ascending
  float *values, *adam_m, *adam_v;
  Table table, other_table;
  uint32_t* unread;  // [groups of width][kPatterns]: pack's place in each bucket of a layer
};

// Layer -> workspace, row-major, and back; `pack` leaves the workspace as it is. It trusts its
// input: the binding checks what comes from outside.
uint32_t unpack(const Layer& layer, TopologyWorkspace& workspace);
void pack(Layer& layer, const TopologyWorkspace& workspace, uint32_t nnz);

// Fill `table` with the connections of group g of the layer.
void read_group(const Layer& layer, int g, TopologyWorkspace& workspace,
                TopologyWorkspace::Table& table);

}  // namespace edgedst
