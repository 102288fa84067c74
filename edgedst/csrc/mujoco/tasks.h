// The tasks that the native host knows: their rules for observation, reward and health, as data and
// functions. Locomotion stands in mujoco/locomotion.cpp, pendulums and arms in mujoco/control.cpp.
#pragma once

#include <string>
#include <vector>

#include "numbers/random.h"

namespace edgedst {

struct MujocoTask;

// Fields of mjData that tasks look into; a task's `fields` is a set of bits 1 << field.
enum MujocoField {
  kXpos,            // of bodies: position of the frame, 3 numbers each
  kXipos,           // of bodies: centre of mass, 3
  kCinert,          // of bodies: inertia, mass * offset, mass, 10
  kCvel,            // of bodies: velocity, 6
  kCfrcExt,         // of bodies: external force and torque, 6
  kQfrcActuator,    // of degrees of freedom: actuator force
  kQfrcConstraint,  // of degrees of freedom: force of contacts and limits
  kSiteXpos         // of a model's one site: its position
};
constexpr int kMujocoFields = kSiteXpos + 1;

// What a task's rules see of a simulation. The fields are those of the last forward pass: after a
// step they are one substep older than qpos and qvel, in gymnasium too.
struct MujocoView {
  const double* qpos;
  const double* qvel;
  const double* const* fields;  // [MujocoField]; null where the task did not ask for it
};

// What a reward is of.
struct MujocoStep {
  MujocoView now;
  const float* action;
  const double* control;  // mjData's after the step: the action, or 0 where MuJoCo reset itself
  double before, after;   // the task's measure
  bool healthy;
};

struct MujocoTask {
  const char* name = nullptr;
  int qpos_size = 0, qvel_size = 0, action_size = 0, observation_size = 0;
  int body_count = 0;     // the world's included; 0 where no field is looked into
  unsigned fields = 0;    // of mjData, as bits
  int height_index = -1;  // of qpos: lifted in the self-check so that nothing touches the ground
  int frame_skip = 0;
  double timestep_seconds = 0;
  double control_cost_weight = 0;
  double healthy_reward = 0;
  bool healthy_reward_when_unhealthy = false;  // v4 pays it on the terminating step too
  double position_noise = 0, velocity_noise = 0;
  bool normal_velocity_noise = false;  // N(0, noise^2) instead of U(+-noise)

  void (*observe)(const MujocoTask&, const MujocoView&, double* observation) = nullptr;
  bool (*healthy)(const MujocoTask&, const MujocoView&) = nullptr;  // unhealthy: terminated
  // What the reward compares before and after a step: most often how far the body came.
  double (*measure)(const MujocoTask&, const MujocoView&) = nullptr;
  double (*reward)(const MujocoTask&, const MujocoStep&) = nullptr;
  // Observations that never move, whatever is done: appends their indices. May be null.
  void (*constants)(const MujocoTask&, std::vector<int>& indices) = nullptr;
  // After the noise of a reset: what is placed otherwise. May be null.
  void (*place)(const MujocoTask&, Random&, double* qpos, double* qvel) = nullptr;

  constexpr double step_seconds() const { return timestep_seconds * frame_skip; }
  constexpr int field_size(int field) const {
    constexpr int kEach[] = {3, 3, 10, 6, 6};
    return field < kQfrcActuator ? kEach[field] * body_count : field == kSiteXpos ? 3 : qvel_size;
  }
};

struct MujocoTaskTable {
  const MujocoTask* first;
  const MujocoTask* last;
};
MujocoTaskTable locomotion_tasks();
MujocoTaskTable control_tasks();

// nullptr when no task has this name.
const MujocoTask* find_mujoco_task(const std::string& name);

// Strict comparisons: a NaN is not inside.
inline bool inside(double value, double low, double high) { return low < value && value < high; }

// A NaN stays one, as in numpy.clip.
inline double clip(double value, double low, double high) {
  return value < low ? low : value > high ? high : value;
}

// Sum of squares of float32 actions in float32 and in NumPy's order of additions (up to 15 of
// them).
float action_squares(const MujocoTask& task, const float* action);

inline bool always_healthy(const MujocoTask&, const MujocoView&) { return true; }

// Paid while healthy, in v4 on the terminating step too.
inline double alive_reward(const MujocoTask& task, const MujocoStep& step) {
  return step.healthy || task.healthy_reward_when_unhealthy ? task.healthy_reward : 0;
}

inline double first_position(const MujocoTask&, const MujocoView& view) { return view.qpos[0]; }

}  // namespace edgedst
