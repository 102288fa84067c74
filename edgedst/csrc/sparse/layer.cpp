#include "sparse/layer.h"

#include <algorithm>
#include <cstring>

namespace edgedst {
namespace {

int group_count(int rows) { return (rows + kGroupRows - 1) / kGroupRows; }

// How many of a group's rows use the columns of bucket p. Without an instruction for it,
// __builtin_popcount calls libgcc_s, of which 64 KB would then stay in a trainer's memory.
int rows_of(int p) { return (p & 1) + (p >> 1 & 1) + (p >> 2 & 1) + (p >> 3 & 1); }

Form pinned = Form::kChosen;

// Plain rows suit views whose rows have few connections, which in a row group would spread over
// fifteen buckets, and a single row; up to about a quarter of all connections, where they take no
// more memory than groups, they are also faster. Measured in docs/decisions/0007.
bool rows_are_plain(int columns, int rows, uint32_t nnz, uint32_t capacity) {
  if (pinned != Form::kChosen) return pinned == Form::kPlain;
  const double row = static_cast<double>(nnz) / rows;
  return rows == 1 ||
         (row < columns && (row < 16 || row < 0.12 * columns ||
                            capacity <= static_cast<uint64_t>(group_count(rows)) * columns));
}

// Up to as many rows of dy stay in the first-level cache with the rows of x, and the way back in
// one pass, which plain rows have, beats what row groups share.
constexpr int kFewOutputs = 8;

// Column entries of a view: each weight has one of its own at worst; unless rows are plain, each
// group each column once at worst.
size_t entry_capacity(bool plain, int rows, int columns, uint32_t nnz) {
  return plain ? nnz : std::min<size_t>(nnz, static_cast<size_t>(group_count(rows)) * columns);
}

// The patterns under which a column stands that the lanes of `mask` use: one, or in plain rows one
// for each lane.
template <class Visit>
void for_each_pattern(int mask, bool plain, Visit visit) {
  if (!plain) return visit(mask);
  for (int lane = 0; lane < kGroupRows; ++lane)
    if (mask >> lane & 1) visit(1 << lane);
}

// Sorts the table's indices into the buckets of group g and calls place(slot, weight) in packed
// order within each bucket.
template <class Place>
void write_group(const TopologyWorkspace::Table& table, int width, int stride, int g, bool plain,
                 uint32_t* column_start, uint32_t* weight_start, uint16_t* columns, Place place) {
  uint32_t count[kPatterns] = {};
  for (int i = 0; i < width; ++i)
    for_each_pattern(table.mask[i], plain, [&](int p) { ++count[p]; });
  uint32_t* start = column_start + g * kPatterns;
  uint32_t entry[kPatterns], weight[kPatterns];
  uint32_t entries = start[0], weights = weight_start[g];
  for (int p = 1; p < kPatterns; ++p) {
    start[p] = entry[p] = entries;
    weight[p] = weights;
    entries += count[p];
    weights += count[p] * rows_of(p);
  }
  start[kPatterns] = entries;  // the next group's empty bucket 0 begins, and ends, here
  weight_start[g + 1] = weights;
  for (int i = 0; i < width; ++i) {
    if (table.mask[i] == 0) continue;
    for_each_pattern(table.mask[i], plain, [&](int p) {
      columns[entry[p]++] = static_cast<uint16_t>(i);
      for (int lane = 0; lane < kGroupRows; ++lane)
        if (p >> lane & 1) place(table.slot[lane * stride + i], weight[p]++);
    });
  }
}

// Fill the workspace's table with the weights of columns [first, first + 4), which are a group's
// rows in the transposed view. Columns ascend in every bucket: each bucket is read on from
// `unread`, where the four columns before ended.
void read_columns(const Layer& layer, int first, const TopologyWorkspace& workspace) {
  const TopologyWorkspace::Table& table = workspace.table;
  std::memset(table.mask, 0, layer.out);
  for (int g = 0; g < group_count(layer.out); ++g) {
    uint32_t bucket_weight = layer.weight_start[g];
    for (int p = 1; p < kPatterns; ++p) {
      const int bucket = g * kPatterns + p, rows = rows_of(p);
      const uint32_t begin = layer.column_start[bucket], end = layer.column_start[bucket + 1];
      uint32_t& i = workspace.unread[bucket];
      for (; i < end && layer.columns[i] < first + kGroupRows; ++i) {
        const int lane_t = layer.columns[i] - first;
        uint32_t weight = bucket_weight + (i - begin) * rows;
        for (int row = 0; row < kGroupRows; ++row) {
          if (!(p >> row & 1)) continue;
          table.mask[g * kGroupRows + row] |= 1 << lane_t;
          table.slot[lane_t * workspace.width + g * kGroupRows + row] = weight++;
        }
      }
      bucket_weight += (end - begin) * rows;
    }
  }
}

void build_transposed_view(Layer& layer, const TopologyWorkspace& workspace) {
  std::copy_n(layer.column_start, group_count(layer.out) * kPatterns, workspace.unread);
  layer.row_start_t[0] = layer.weight_start_t[0] = 0;
  for (int g = 0; g < group_count(layer.in); ++g) {
    read_columns(layer, g * kGroupRows, workspace);
    write_group(workspace.table, layer.out, workspace.width, g, layer.plain_t, layer.row_start_t,
                layer.weight_start_t, layer.rows_t,
                [&](uint32_t slot, uint32_t weight) { layer.slots[weight] = slot; });
  }
}

}  // namespace

void pin_form(Form form) { pinned = form; }

Layer::Layer(Arena& arena, const std::string& name, int in, int out, uint32_t nnz, Role role,
             bool batch_norm)
    : in(in), out(out), role(role), budget(nnz) {
  const uint64_t all = static_cast<uint64_t>(in) * out;
  // An average lags its network: at worst the two topologies share nothing.
  const uint64_t most = role == Role::kAveraged ? 2ull * nnz : nnz;
  capacity = static_cast<uint32_t>(std::min(all, most));
  plain = rows_are_plain(in, out, nnz, capacity);
  plain_t =
      rows_are_plain(out, in, nnz, capacity) || (pinned == Form::kChosen && out <= kFewOutputs);
  values = arena.take<float>(name + ".values", capacity + 4);
  bias = arena.take<float>(name + ".bias", out);
  if (role == Role::kLearner) {
    adam_m = arena.take<float>(name + ".adam_m", capacity);
    adam_v = arena.take<float>(name + ".adam_v", capacity);
    bias_adam_m = arena.take<float>(name + ".bias_adam_m", out);
    bias_adam_v = arena.take<float>(name + ".bias_adam_v", out);
  }
  if (batch_norm) {
    running_mean = arena.take<float>(name + ".running_mean", out);
    running_variance = arena.take<float>(name + ".running_variance", out);
    inverse = arena.take<float>(name + ".inverse", out);
  }
  column_start = arena.take<uint32_t>(name + ".buckets", group_count(out) * kPatterns + 1);
  weight_start = arena.take<uint32_t>(name + ".groups", group_count(out) + 1);
  columns = arena.take<uint16_t>(name + ".columns", entry_capacity(plain, out, in, capacity));
  if (role == Role::kAveraged) source = arena.take<uint32_t>(name + ".source", capacity);
  if (role == Role::kLearner) {
    row_start_t =
        arena.take<uint32_t>(name + ".transposed_buckets", group_count(in) * kPatterns + 1);
    weight_start_t = arena.take<uint32_t>(name + ".transposed_groups", group_count(in) + 1);
    rows_t =
        arena.take<uint16_t>(name + ".transposed_rows", entry_capacity(plain_t, in, out, capacity));
    slots = arena.take<uint32_t>(name + ".transposed_slots", capacity);
  }
}

Groups Layer::forward_view() const {
  return {out, group_count(out), column_start, weight_start, columns, plain};
}

Groups Layer::transposed_view() const {
  return {in, group_count(in), row_start_t, weight_start_t, rows_t, plain_t};
}

TopologyWorkspace::TopologyWorkspace(Arena& arena, const std::string& name, uint32_t nnz, int rows,
                                     int columns, std::optional<size_t> over)
    : capacity(nnz), width(std::max(rows, columns)) {
  std::optional<Arena::Over> place(std::in_place, arena, over.value_or(arena.used_bytes()));
  indices = arena.take<uint32_t>(name + ".indices", nnz);
  adam_m = arena.take<float>(name + ".adam_m", nnz);
  adam_v = arena.take<float>(name + ".adam_v", nnz);
  for (Table* t : {&table, &other_table}) {
    t->mask = arena.take<uint8_t>(name + ".mask", width);
    t->slot = arena.take<uint32_t>(name + ".slot", static_cast<size_t>(kGroupRows) * width);
  }
  unread =
      arena.take<uint32_t>(name + ".unread", static_cast<size_t>(group_count(width)) * kPatterns);
  place.reset();
  values = arena.take<float>(name + ".values", nnz);
}

void read_group(const Layer& layer, int g, TopologyWorkspace& workspace,
                TopologyWorkspace::Table& table) {
  std::memset(table.mask, 0, layer.in);
  uint32_t weight = layer.weight_start[g];
  for (int p = 1; p < kPatterns; ++p) {
    const uint32_t end = layer.column_start[g * kPatterns + p + 1];
    for (uint32_t i = layer.column_start[g * kPatterns + p]; i < end; ++i) {
      table.mask[layer.columns[i]] |= static_cast<uint8_t>(p);
      for (int lane = 0; lane < kGroupRows; ++lane)
        if (p >> lane & 1) table.slot[lane * workspace.width + layer.columns[i]] = weight++;
    }
  }
}

uint32_t unpack(const Layer& layer, TopologyWorkspace& workspace) {
  uint32_t k = 0;
  for (int g = 0; g < group_count(layer.out); ++g) {
    read_group(layer, g, workspace, workspace.table);
    for (int lane = 0; lane < kGroupRows && g * kGroupRows + lane < layer.out; ++lane) {
      for (int c = 0; c < layer.in; ++c) {
        if (!(workspace.table.mask[c] >> lane & 1)) continue;
        const uint32_t at = workspace.table.slot[lane * workspace.width + c];
        workspace.indices[k] = static_cast<uint32_t>(g * kGroupRows + lane) * layer.in + c;
        workspace.values[k] = layer.values[at];
        if (layer.adam_m) {
          workspace.adam_m[k] = layer.adam_m[at];
          workspace.adam_v[k] = layer.adam_v[at];
        }
        ++k;
      }
    }
  }
  return k;
}

void pack(Layer& layer, const TopologyWorkspace& workspace, uint32_t nnz) {
  layer.nnz = nnz;
  layer.column_start[0] = layer.weight_start[0] = 0;
  uint32_t k = 0;
  for (int g = 0; g < group_count(layer.out); ++g) {
    std::memset(workspace.table.mask, 0, layer.in);
    const uint64_t end = static_cast<uint64_t>(g + 1) * kGroupRows * layer.in;
    for (; k < nnz && workspace.indices[k] < end; ++k) {
      const uint32_t row = workspace.indices[k] / layer.in,
                     column = workspace.indices[k] % layer.in;
      const int lane = row % kGroupRows;
      workspace.table.mask[column] |= 1 << lane;
      workspace.table.slot[lane * workspace.width + column] = k;
    }
    write_group(workspace.table, layer.in, workspace.width, g, layer.plain, layer.column_start,
                layer.weight_start, layer.columns, [&](uint32_t from, uint32_t weight) {
                  layer.values[weight] = workspace.values[from];
                  if (!layer.adam_m) return;
                  layer.adam_m[weight] = workspace.adam_m[from];
                  layer.adam_v[weight] = workspace.adam_v[from];
                });
  }
  layer.values[nnz] = 0;
  if (layer.role == Role::kLearner) build_transposed_view(layer, workspace);
}

}  // namespace edgedst
