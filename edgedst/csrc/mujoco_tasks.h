// The tasks that the native host knows: their rules for observation, reward and health, as data and
// functions.
#pragma once

#include <string>

namespace edgedst {

// What a task's rules see of one step.
struct MujocoStep {
  const double* qpos;
  const double* qvel;
  const float* action;
  double x_velocity;
};

struct MujocoTask {
  const char* name;
  int qpos_size, qvel_size, action_size, observation_size;
  int height_index;  // of qpos: lifted in the self-check so that nothing touches the ground
  int frame_skip;
  double timestep_seconds;
  double control_cost_weight;
  double healthy_reward;
  bool healthy_reward_when_unhealthy;  // v4 pays it on the terminating step too
  double reset_noise;
  bool normal_velocity_noise;  // N(0, reset_noise^2) instead of U(+-reset_noise)
  void (*observe)(const MujocoTask& task, const double* qpos, const double* qvel,
                  double* observation);
  bool (*healthy)(const MujocoTask& task, const double* qpos, const double* qvel);
  double (*reward)(const MujocoTask& task, const MujocoStep& step, bool healthy);
};

// nullptr when no task has this name.
const MujocoTask* find_mujoco_task(const std::string& name);

}  // namespace edgedst
