$buffers
void edgedst_act(const float *obs, float *action) {
  float spoiled = 0.0f; /* a difference of a number with itself is 0, of a NaN or an infinity it is NaN */
  for (int32_t i = 0; i < EDGEDST_OBSERVATION_SIZE; i++) spoiled += obs[i] - obs[i];
$layers
}
