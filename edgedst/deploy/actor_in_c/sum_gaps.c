/* Rows with equally many entries follow each other as a run. Positions are bytes: how many rows a run has, how many
 * entries each of them has, then the entries. An entry is the distance to the one before it in its row, the first one
 * counted from the place before the row. A distance over 255 is filled by entries of distance 255 and weight 0. */
static void sum_gaps(const layer_t *layer, const float *x, float *y) {
  const uint8_t *gap = layer->positions;
  const weight_t *value = layer->values;
  int32_t row = 0;
  while (row < layer->outputs) {
    const int32_t end = row + gap[0], entries = gap[1];
    gap += 2;
    for (; row < end; row++) {
      float sum = 0.0f;
      int32_t column = -1, entry = 0;
      for (; entry + 4 <= entries; entry += 4) {
        const int32_t a = column + gap[0], b = a + gap[1], c = b + gap[2];
        column = c + gap[3];
        sum += (weight(value[0]) * x[a] + weight(value[1]) * x[b]) +
               (weight(value[2]) * x[c] + weight(value[3]) * x[column]);
        gap += 4;
        value += 4;
      }
      for (; entry < entries; entry++) {
        column += *gap++;
        sum += weight(*value++) * x[column];
      }
      y[row] = sum;
    }
  }
}
