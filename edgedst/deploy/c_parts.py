"""The C99 that an exported actor computes with: texts that `c_source` puts together, each only where it is used.

A layer is read as `packing.PackedLayer.dense` reads it, but never made dense: its entries are walked row by row, so
that `y` is written once and a row's sum stays in registers. Two sums a row, since an addition waits for the one before
(a third less time on x86-64 with gaps); single precision throughout, which is what a microcontroller's FPU has.
"""

from __future__ import annotations

# How a stored value becomes a weight, by dtype.
WEIGHTS = {
    "fp32": """\
typedef float weight_t;

static float weight(weight_t stored) { return stored; }
""",
    "fp16": """\
typedef uint16_t weight_t; /* IEEE half precision */

/* The half's exponent and fraction, moved to where a float has them, are 2^112 times too small; halves below 2^-14
 * come out right, too. */
static float weight(weight_t stored) {
  union {
    uint32_t bits;
    float value;
  } number;
  number.bits = (uint32_t)(stored & 0x7fffu) << 13;
  number.value *= 0x1p112f;
  number.bits |= (uint32_t)(stored & 0x8000u) << 16;
  return number.value;
}
""",
    "int8": """\
typedef int8_t weight_t; /* times its row's scale */

static float weight(weight_t stored) { return (float)stored; }
""",
}

LAYER = """\
typedef struct {
  int32_t inputs, outputs;
  int32_t entries;          /* stored weights, row by row */
  const uint8_t *positions; /* where they lie; none where every place has one */
  const weight_t *values;{scales}
  const float *bias;
} layer_t;
"""
LAYER_SCALES = "\n  const float *scales; /* one a row */"

# y[row] = sum of weight * x[column], by how positions are stored. Bias, scale and activation come afterwards.
SUMS = {
    "gaps": """\
/* Positions as gaps: a byte is the distance to the entry before, counted along the rows, for the first one from the
 * place before the first. A distance over 255 is filled by entries of distance 255 and weight 0. */
static void sum_gaps(const layer_t *layer, const float *x, float *y) {
  const uint8_t *gaps = layer->positions;
  int32_t entry = 0, column = -1;
  for (int32_t row = 0; row < layer->outputs; row++) {
    float even = 0.0f, odd = 0.0f;
    while (entry + 1 < layer->entries && column + gaps[entry] + gaps[entry + 1] < layer->inputs) {
      const int32_t first = column + gaps[entry];
      column = first + gaps[entry + 1];
      even += weight(layer->values[entry]) * x[first];
      odd += weight(layer->values[entry + 1]) * x[column];
      entry += 2;
    }
    if (entry < layer->entries && column + gaps[entry] < layer->inputs) {
      column += gaps[entry];
      even += weight(layer->values[entry]) * x[column];
      entry++;
    }
    y[row] = even + odd;
    column -= layer->inputs;
  }
}
""",
    "bitmask": """\
/* Index of the lowest bit that is set, by a de Bruijn sequence. */
static int32_t lowest(uint32_t bits) {
  static const uint8_t index[32] = {0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
                                    31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9};
  return index[(uint32_t)((bits & (0u - bits)) * 0x077cb531u) >> 27];
}

/* Positions as a mask: a bit a place, row by row, the lowest bit of a byte first; read 32 at a time. */
static void sum_bitmask(const layer_t *layer, const float *x, float *y) {
  const uint8_t *mask = layer->positions;
  const weight_t *value = layer->values;
  uint32_t word = 0;
  int32_t left = 0; /* bits of the word that are not used yet */
  for (int32_t row = 0; row < layer->outputs; row++) {
    float even = 0.0f, odd = 0.0f;
    int32_t column = 0;
    while (column < layer->inputs) {
      if (left == 0) {
        word = mask[0] | (uint32_t)mask[1] << 8 | (uint32_t)mask[2] << 16 | (uint32_t)mask[3] << 24;
        mask += 4;
        left = 32;
      }
      const int32_t room = layer->inputs - column;
      const int32_t taken = left < room ? left : room;
      uint32_t bits = taken < 32 ? word & (((uint32_t)1 << taken) - 1) : word;
      word = taken < 32 ? word >> taken : 0;
      left -= taken;
      while (bits != 0) {
        even += weight(*value++) * x[column + lowest(bits)];
        bits &= bits - 1;
        if (bits == 0) break;
        odd += weight(*value++) * x[column + lowest(bits)];
        bits &= bits - 1;
      }
      column += taken;
    }
    y[row] = even + odd;
  }
}
""",
    "full": """\
/* Every place has a weight. */
static void sum_full(const layer_t *layer, const float *x, float *y) {
  const weight_t *value = layer->values;
  for (int32_t row = 0; row < layer->outputs; row++) {
    float even = 0.0f, odd = 0.0f;
    int32_t column = 0;
    for (; column + 1 < layer->inputs; column += 2) {
      even += weight(value[column]) * x[column];
      odd += weight(value[column + 1]) * x[column + 1];
    }
    if (column < layer->inputs) even += weight(value[column]) * x[column];
    y[row] = even + odd;
    value += layer->inputs;
  }
}
""",
}

RELU = """\
/* Bias, then ReLU; a NaN stays one. */
static void finish_hidden(const layer_t *layer, float *y) {
  for (int32_t row = 0; row < layer->outputs; row++) {
    const float z = {sum};
    y[row] = z < 0.0f ? 0.0f : z;
  }
}
"""

# But for rounding an action is inside its bounds, and the two comparisons take that away; a NaN passes them.
ACTIONS = """\
/* Bias, tanh, then the environment's units; `spoiled` is 0, or NaN where an observation was not finite. */
static void finish_actions(const layer_t *layer, float *y, float spoiled) {
  for (int32_t row = 0; row < layer->outputs; row++) {
    const float low = edgedst_action_low[row], high = edgedst_action_high[row];
    const float z = {sum};
    float action = (0.5f * high + 0.5f * low) + (0.5f * high - 0.5f * low) * tanhf(z);
    if (action < low) action = low;
    if (action > high) action = high;
    y[row] = action + spoiled;
  }
}
"""
PLAIN_SUM = "y[row] + layer->bias[row]"
SCALED_SUM = "y[row] * layer->scales[row] + layer->bias[row]"
