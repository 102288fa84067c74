/* $name.h: $method for $environment, made by `edgedst export`. */
#ifndef $guard
#define $guard

#define EDGEDST_ENVIRONMENT $c_environment
#define EDGEDST_METHOD $c_method
#define EDGEDST_SEED $seed
#define EDGEDST_STEP $step /* environment steps trained */
#define EDGEDST_VERSION $c_version /* of the edgedst that trained it */
#define EDGEDST_DTYPE $c_dtype /* what the weights are stored as */
#define EDGEDST_EXPORT ${export}u /* the same in $name.c */

#define EDGEDST_OBSERVATION_SIZE $observation_size
#define EDGEDST_ACTION_SIZE $action_size
$history_size#define EDGEDST_CONSTANT_BYTES $constant_bytes /* weights and their places, biases, bounds */
${ram}
#ifdef __cplusplus
extern "C" {
#endif

/* Bounds of the actions, in the environment's units. */
extern const float edgedst_action_low[EDGEDST_ACTION_SIZE];
extern const float edgedst_action_high[EDGEDST_ACTION_SIZE];

/* One observation, as the environment gives it, to one action in the environment's units, never outside its bounds.
 *
 * An observation with a NaN or an infinity gives an action of NaN in every dimension: look at the observation first,
 * or at the action before a motor gets it (`action[0] != action[0]`). `obs` and `action` must not overlap. Not
 * reentrant: there is one static scratch memory. */
void edgedst_act(const float *obs, float *action);
$history_functions
#ifdef __cplusplus
}
#endif

#endif
