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
