#include "mujoco_tasks.h"

#include <algorithm>
#include <cmath>

namespace edgedst {
namespace {

// Source: gymnasium/envs/mujoco/{half_cheetah,hopper,walker2d}_v{4,5}.py with
// default arguments.

// Position without its first entry (the agent must not know how far it came), then velocity.
void observe_all(const MujocoTask& task, const double* qpos, const double* qvel, double* out) {
  std::copy(qpos + 1, qpos + task.qpos_size, out);
  std::copy(qvel, qvel + task.qvel_size, out + task.qpos_size - 1);
}

// The same with velocities clipped; a NaN stays one, as in numpy.clip.
void observe_clipped(const MujocoTask& task, const double* qpos, const double* qvel, double* out) {
  observe_all(task, qpos, qvel, out);
  for (double* v = out + task.qpos_size - 1; v != out + task.observation_size; ++v)
    *v = *v < -10 ? -10 : *v > 10 ? 10 : *v;
}

bool always_healthy(const MujocoTask&, const double*, const double*) { return true; }

// Strict comparisons: a NaN is not healthy.
bool inside(double value, double low, double high) { return low < value && value < high; }

bool hopper_healthy(const MujocoTask& task, const double* qpos, const double* qvel) {
  for (int i = 2; i < task.qpos_size; ++i)
    if (!inside(qpos[i], -100, 100)) return false;
  for (int i = 0; i < task.qvel_size; ++i)
    if (!inside(qvel[i], -100, 100)) return false;
  return inside(qpos[1], 0.7, std::numeric_limits<double>::infinity()) &&
         inside(qpos[2], -0.2, 0.2);
}

bool walker2d_healthy(const MujocoTask&, const double* qpos, const double*) {
  return inside(qpos[1], 0.8, 2) && inside(qpos[2], -1, 1);
}

// Forward velocity + healthy reward - control cost. The cost is float32 all the way, as NumPy
// computes it from float32 actions; up to 7 actions NumPy adds from left to right.
double locomotion_reward(const MujocoTask& task, const MujocoStep& step, bool healthy) {
  float squares = 0;
  for (int i = 0; i < task.action_size; ++i) squares += step.action[i] * step.action[i];
  const float cost = static_cast<float>(task.control_cost_weight) * squares;
  const bool paid = healthy || task.healthy_reward_when_unhealthy;
  return step.x_velocity + (paid ? task.healthy_reward : 0) - static_cast<double>(cost);
}

constexpr MujocoTask kTasks[] = {
    {"HalfCheetah-v4", 9, 9, 6, 17, 1, 5, 0.01, 0.1, 0, true, 0.1, true, observe_all,
     always_healthy, locomotion_reward},
    {"HalfCheetah-v5", 9, 9, 6, 17, 1, 5, 0.01, 0.1, 0, true, 0.1, true, observe_all,
     always_healthy, locomotion_reward},
    {"Hopper-v4", 6, 6, 3, 11, 1, 4, 0.002, 1e-3, 1, true, 5e-3, false, observe_clipped,
     hopper_healthy, locomotion_reward},
    {"Hopper-v5", 6, 6, 3, 11, 1, 4, 0.002, 1e-3, 1, false, 5e-3, false, observe_clipped,
     hopper_healthy, locomotion_reward},
    {"Walker2d-v4", 9, 9, 6, 17, 1, 4, 0.002, 1e-3, 1, true, 5e-3, false, observe_clipped,
     walker2d_healthy, locomotion_reward},
    {"Walker2d-v5", 9, 9, 6, 17, 1, 4, 0.002, 1e-3, 1, false, 5e-3, false, observe_clipped,
     walker2d_healthy, locomotion_reward},
};

}  // namespace

const MujocoTask* find_mujoco_task(const std::string& name) {
  for (const MujocoTask& task : kTasks)
    if (name == task.name) return &task;
  return nullptr;
}

}  // namespace edgedst
