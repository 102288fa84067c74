enum {
  kObservations = EDGEDST_HISTORY * EDGEDST_OBSERVATION_SIZE,
  kMemory = EDGEDST_HISTORY * (EDGEDST_OBSERVATION_SIZE + EDGEDST_ACTION_SIZE)
};
/* What the first layer takes: the last observations, then the last actions, each newest first. */
static float memory[kMemory];
static int32_t begun; /* whether an episode is under way */

/* Before an episode there were its first observation, again and again, and the start action. */
static void remember_observation(const float *observation) {
  if (begun)
    for (int32_t i = kObservations - 1; i >= EDGEDST_OBSERVATION_SIZE; i--)
      memory[i] = memory[i - EDGEDST_OBSERVATION_SIZE];
  take_observation(observation, memory);
  if (begun) return;
  begun = 1;
  for (int32_t i = EDGEDST_OBSERVATION_SIZE; i < kObservations; i++) memory[i] = memory[i - EDGEDST_OBSERVATION_SIZE];
  for (int32_t i = kObservations; i < kMemory; i += EDGEDST_ACTION_SIZE) take_action(start_action, memory + i);
}

static void remember_action(const float *action) {
  for (int32_t i = kMemory - 1; i >= kObservations + EDGEDST_ACTION_SIZE; i--)
    memory[i] = memory[i - EDGEDST_ACTION_SIZE];
  take_action(action, memory + kObservations);
}

void edgedst_reset(void) { begun = 0; }

void edgedst_applied(const float *action) { take_action(action, memory + kObservations); }
