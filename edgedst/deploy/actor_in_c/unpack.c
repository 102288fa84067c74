enum { kLanes = 16 }; /* rows that are summed up side by side */

/* Groups of kLanes rows; in a group column after column, and of a column the group's weights side by side. */
static void unpack(const layer_t *layer, float *unpacked) {
  const weight_t *value = layer->values;
  int32_t place = 0;
  for (int32_t row = 0; row < layer->outputs; row++) {
    float *first = unpacked + row / kLanes * kLanes * layer->inputs + row % kLanes;
    for (int32_t column = 0; column < layer->inputs; column++, place++)
      if (!layer->positions || layer->positions[place >> 3] >> (place & 7) & 1)
        first[column * kLanes] = weight(*value++);
  }
}

/* What two columns, whose weights are kLanes apart, add to a row. */
static double pair(const float *w, const float *x) { return (double)(w[0] * x[0] + w[kLanes] * x[1]); }

/* Compilers turn the loops over lanes into vector instructions. A device with memory for this has double precision in
 * hardware; it halves what rounding takes. */
static void sum_unpacked(const layer_t *layer, const float *w, const float *x, float *y) {
  const int32_t fours = layer->inputs / 4 * 4;
  for (int32_t row = 0; row < layer->outputs; row += kLanes) {
    double sums[kLanes] = {0.0};
    int32_t column = 0;
    for (; column < fours; column += 4, w += 4 * kLanes)
      for (int32_t lane = 0; lane < kLanes; lane++)
        sums[lane] += pair(w + lane, x + column) + pair(w + lane + 2 * kLanes, x + column + 2);
    for (; column < layer->inputs; column++, w += kLanes)
      for (int32_t lane = 0; lane < kLanes; lane++) sums[lane] += (double)(w[lane] * x[column]);
    for (int32_t lane = 0; lane < kLanes && row + lane < layer->outputs; lane++) y[row + lane] = (float)sums[lane];
  }
}
