#include "sparse/topology.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace edgedst {
namespace {

// Walks all positions row-major and calls keep(k) at the kept ones and grow(position) at `needed`
// uniformly random others: selection sampling (Knuth, TAOCP 2, 3.4.2, Algorithm S), so nothing of
// size in x out is stored.
template <class Keep, class Grow>
void choose_positions(uint32_t positions, const uint32_t* kept, uint32_t kept_count,
                      uint32_t needed, Random& random, Keep keep, Grow grow) {
  uint32_t empty = positions - kept_count, k = 0;
  for (uint32_t position = 0; position < positions && (needed || k < kept_count); ++position) {
    if (k < kept_count && kept[k] == position) {
      keep(k++);
    } else if (needed) {
      if (random.below(empty) < needed) {
        grow(position);
        --needed;
      }
      --empty;
    } else {
      position = kept[k] - 1;  // nothing more to grow: on to the next kept one
    }
  }
}

// Which of the weights with `sign` go: all whose magnitude is below `magnitude`, and `ties` of
// those equal to it.
struct Threshold {
  float magnitude = -1;
  uint32_t ties = 0;

  bool drops(float weight_magnitude) {
    if (weight_magnitude < magnitude) return true;
    if (weight_magnitude > magnitude || ties == 0) return false;
    --ties;
    return true;
  }
};

// The share `drop_fraction` nearest zero of the weights in [begin, end), which it puts in another
// order.
Threshold nearest_zero(float* begin, float* end, double drop_fraction) {
  const auto drop = static_cast<uint32_t>(drop_fraction * static_cast<uint32_t>(end - begin));
  if (drop == 0) return {};
  std::nth_element(begin, begin + (drop - 1), end,
                   [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  const float limit = std::fabs(begin[drop - 1]);
  uint32_t below = 0;
  for (uint32_t i = 0; i < drop; ++i) below += std::fabs(begin[i]) < limit;
  return {limit, drop - below};
}

}  // namespace

void initialise(Layer& layer, Random& random, TopologyWorkspace& workspace) {
  const float bound = 1 / std::sqrt(static_cast<float>(layer.in));
  uint32_t k = 0;
  choose_positions(
      static_cast<uint32_t>(layer.in) * layer.out, nullptr, 0, layer.budget, random,
      [](uint32_t) {}, [&](uint32_t position) { workspace.indices[k++] = position; });
  for (uint32_t i = 0; i < layer.budget; ++i) {
    workspace.values[i] = bound * (2 * random.uniform() - 1);
    workspace.adam_m[i] = workspace.adam_v[i] = 0;
  }
  for (int row = 0; row < layer.out; ++row) {
    layer.bias[row] = bound * (2 * random.uniform() - 1);
    if (layer.bias_adam_m) layer.bias_adam_m[row] = layer.bias_adam_v[row] = 0;
  }
  if (layer.running_mean) {
    std::fill_n(layer.running_mean, layer.out, 0.0f);
    std::fill_n(layer.running_variance, layer.out, 1.0f);
  }
  pack(layer, workspace, layer.budget);
}

uint32_t evolve(Layer& layer, double drop_fraction, Random& random, TopologyWorkspace& workspace) {
  const uint32_t nnz = unpack(layer, workspace);
  uint32_t* indices = workspace.indices;
  float *values = workspace.values, *adam_m = workspace.adam_m, *adam_v = workspace.adam_v;

  // The workspace has the layer's weights, and pack writes them anew: their order is free.
  float* const end = layer.values + nnz;
  float* const negatives = std::partition(layer.values, end, [](float w) { return w > 0; });
  float* const rest = std::partition(negatives, end, [](float w) { return w < 0; });
  Threshold positive = nearest_zero(layer.values, negatives, drop_fraction);
  Threshold negative = nearest_zero(negatives, rest, drop_fraction);

  // Drop, in place. An exact zero goes first: the paper's masks cannot tell it from an empty
  // position (eq. 5).
  uint32_t kept = 0;
  const auto move = [&](uint32_t from, uint32_t to) {
    indices[to] = indices[from];
    values[to] = values[from];
    adam_m[to] = adam_m[from];
    adam_v[to] = adam_v[from];
  };
  for (uint32_t k = 0; k < nnz; ++k) {
    const float w = values[k];
    if (w == 0 || (w > 0 ? positive : negative).drops(std::fabs(w))) continue;
    move(k, kept++);
  }

  // Grow, in place. The kept ones stand at the end, so that writing from the front never reaches
  // one that is still to be read: as many places are free before it as positions are to be grown.
  const uint32_t grown = nnz - kept;
  for (uint32_t k = kept; k-- > 0;) move(k, grown + k);
  uint32_t out = 0;
  choose_positions(
      static_cast<uint32_t>(layer.in) * layer.out, indices + grown, kept, grown, random,
      [&](uint32_t k) { move(grown + k, out++); },
      [&](uint32_t position) {
        indices[out] = position;
        // Moments of a grown weight start at 0: old ones would push it with another weight's
        // history.
        values[out] = adam_m[out] = adam_v[out] = 0;
        ++out;
      });
  pack(layer, workspace, nnz);
  return grown;
}

void unite(const Layer& source, Layer& target, TopologyWorkspace& workspace) {
  auto& theirs = workspace.table;
  auto& own = workspace.other_table;
  uint32_t k = 0;
  for (int g = 0; g * kGroupRows < target.out; ++g) {
    read_group(source, g, workspace, theirs);
    read_group(target, g, workspace, own);
    for (int lane = 0; lane < kGroupRows && g * kGroupRows + lane < target.out; ++lane) {
      for (int c = 0; c < target.in; ++c) {
        const bool stored = own.mask[c] >> lane & 1;
        const float w = stored ? target.values[own.slot[lane * workspace.width + c]] : 0;
        // Nothing prunes a NaN either: kept here, they would outgrow the target's room.
        const bool kept = w < 0 || w > 0;
        if (!kept && !(theirs.mask[c] >> lane & 1)) continue;
        workspace.indices[k] = static_cast<uint32_t>(g * kGroupRows + lane) * target.in + c;
        workspace.values[k++] = w;
      }
    }
  }
  pack(target, workspace, k);
  link(source, target, workspace);
}

void link(const Layer& source, Layer& target, TopologyWorkspace& workspace) {
  for (int g = 0; g * kGroupRows < target.out; ++g) {
    read_group(source, g, workspace, workspace.table);
    uint32_t weight = target.weight_start[g];
    for (int p = 1; p < kPatterns; ++p) {
      const uint32_t end = target.column_start[g * kPatterns + p + 1];
      for (uint32_t i = target.column_start[g * kPatterns + p]; i < end; ++i) {
        const int c = target.columns[i];
        for (int lane = 0; lane < kGroupRows; ++lane) {
          if (!(p >> lane & 1)) continue;
          const bool shared = workspace.table.mask[c] >> lane & 1;
          // values[nnz] of the source is a zero, so that Polyak needs no branch.
          target.source[weight++] =
              shared ? workspace.table.slot[lane * workspace.width + c] : source.nnz;
        }
      }
    }
  }
}

namespace {

// The smallest magnitude that stays when `excess` go (ties aside): the one of that rank. From one
// update to the next it mostly moves by less than 3 %, so few magnitudes are ranked: those near the
// last one, else those up to twice as far off, else all on that side. 0 where there are not so many
// numbers: what is left is NaN, and nothing goes.
float pruning_threshold(Layer& target, uint32_t excess, float* magnitudes) {
  float low = 0.97f * target.small_magnitude, high = 1.03f * target.small_magnitude;
  for (bool near = true;; near = false) {
    const Band band = kernels().select_band(target.values, target.nnz, low, high, magnitudes);
    if (excess < band.below) {
      high = low;
      low = near ? low / 2 : 0;
    } else if (excess - band.below >= band.inside) {
      if (high == INFINITY) return 0;
      low = high;
      high = near ? 2 * high : INFINITY;
    } else {
      float* ranked = magnitudes + (excess - band.below);
      std::nth_element(magnitudes, ranked, magnitudes + band.inside);
      return target.small_magnitude = *ranked;
    }
  }
}

// Of the magnitudes equal to the threshold the `ties` at the highest positions go. Rare: weights
// are seldom equal.
void prune_ties(Layer& target, float threshold, uint32_t ties, TopologyWorkspace& workspace) {
  for (int g = (target.out - 1) / kGroupRows; g >= 0 && ties; --g) {
    read_group(target, g, workspace, workspace.table);
    for (int lane = kGroupRows - 1; lane >= 0 && ties; --lane) {
      for (int c = target.in - 1; c >= 0 && ties; --c) {
        if (!(workspace.table.mask[c] >> lane & 1)) continue;
        float& w = target.values[workspace.table.slot[lane * workspace.width + c]];
        if (std::fabs(w) != threshold) continue;
        w = 0;
        --ties;
      }
    }
  }
}

}  // namespace

void maintain(Layer& target, TopologyWorkspace& workspace) {
  if (target.nnz <= target.budget) return;
  const uint32_t excess = target.nnz - target.budget;
  const float threshold = pruning_threshold(target, excess, workspace.magnitudes());
  if (threshold == 0) return;  // no more than `budget` numbers are not 0
  const uint32_t pruned =
      static_cast<uint32_t>(kernels().zero_below(target.values, target.nnz, threshold));
  if (pruned < excess) prune_ties(target, threshold, excess - pruned, workspace);
}

}  // namespace edgedst
