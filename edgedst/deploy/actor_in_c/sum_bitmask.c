/* Index of the lowest bit that is set, by a de Bruijn sequence. */
static int32_t lowest(uint32_t bits) {
  static const uint8_t index[32] = {0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
                                    31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9};
  return index[(uint32_t)((bits & (0u - bits)) * 0x077cb531u) >> 27];
}

/* Positions as a mask: a bit a place, row by row, the lowest bit of a byte first; read 32 at a time. What is read at a
 * time has sums of its own, since short sums round less. */
static void sum_bitmask(const layer_t *layer, const float *x, float *y) {
  const uint8_t *mask = layer->positions;
  const weight_t *value = layer->values;
  uint32_t word = 0;
  int32_t left = 0; /* bits of the word that are not used yet */
  for (int32_t row = 0; row < layer->outputs; row++) {
    float sum = 0.0f;
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
      float even = 0.0f, odd = 0.0f;
      while (bits != 0) {
        even += weight(*value++) * x[column + lowest(bits)];
        bits &= bits - 1;
        if (bits == 0) break;
        odd += weight(*value++) * x[column + lowest(bits)];
        bits &= bits - 1;
      }
      sum += even + odd;
      column += taken;
    }
    y[row] = sum;
  }
}
