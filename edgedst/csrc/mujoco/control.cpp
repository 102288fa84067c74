#include <algorithm>
#include <cmath>
#include <iterator>

#include "mujoco/tasks.h"

namespace edgedst {
namespace {

// Source: gymnasium/envs/mujoco/{inverted_pendulum,inverted_double_pendulum,reacher}_v{4,5}.py and
// pusher_v5.py with default arguments. Pusher-v4 does not run on MuJoCo 3, in gymnasium either.

void observe_pendulum(const MujocoTask& task, const MujocoView& view, double* out) {
  out = std::copy(view.qpos, view.qpos + task.qpos_size, out);
  std::copy(view.qvel, view.qvel + task.qvel_size, out);
}

bool pendulum_healthy(const MujocoTask&, const MujocoView& view) {
  const double* const q = view.qpos;
  const double* const v = view.qvel;
  return std::isfinite(q[0]) && std::isfinite(v[0]) && std::isfinite(v[1]) &&
         std::fabs(q[1]) <= 0.2;
}

// NumPy's sine and cosine may differ from the C library's in the last bit.
void observe_double_pendulum(const MujocoTask& task, const MujocoView& view, double* out) {
  const double* const q = view.qpos;
  *out++ = q[0];
  *out++ = std::sin(q[1]);
  *out++ = std::sin(q[2]);
  *out++ = std::cos(q[1]);
  *out++ = std::cos(q[2]);
  for (int i = 0; i < task.qvel_size; ++i) *out++ = clip(view.qvel[i], -10, 10);
  // v5 keeps the cart's: the hinges have no limits.
  const int forces = task.observation_size - 8;
  for (int i = 0; i < forces; ++i) *out++ = clip(view.fields[kQfrcConstraint][i], -10, 10);
}

bool double_pendulum_healthy(const MujocoTask&, const MujocoView& view) {
  return !(view.fields[kSiteXpos][2] <= 1);
}

double double_pendulum_reward(const MujocoTask& task, const MujocoStep& step) {
  const double* const tip = step.now.fields[kSiteXpos];
  const double* const v = step.now.qvel;
  const double distance = 0.01 * tip[0] * tip[0] + (tip[2] - 2) * (tip[2] - 2);
  const double velocity = 1e-3 * v[1] * v[1] + 5e-3 * v[2] * v[2];
  return alive_reward(task, step) - distance - velocity;
}

struct Offset {
  double x, y, z;
  double length() const { return std::sqrt(x * x + y * y + z * z); }
};

Offset between(const MujocoView& view, int from, int to) {
  const double* const a = view.fields[kXpos] + 3 * from;
  const double* const b = view.fields[kXpos] + 3 * to;
  return {b[0] - a[0], b[1] - a[1], b[2] - a[2]};
}

Offset target_to_fingertip(const MujocoView& view) { return between(view, 4, 3); }

void observe_reacher(const MujocoTask& task, const MujocoView& view, double* out) {
  const double* const q = view.qpos;
  const Offset offset = target_to_fingertip(view);
  const double values[] = {std::cos(q[0]), std::cos(q[1]), std::sin(q[0]), std::sin(q[1]),
                           q[2],           q[3],           view.qvel[0],   view.qvel[1],
                           offset.x,       offset.y,       offset.z};
  std::copy(values, values + task.observation_size, out);  // v5 leaves out the height
}

double reacher_distance(const MujocoTask&, const MujocoView& view) {
  return target_to_fingertip(view).length();
}

// v4's distance is that before the step.
double reacher_v4_reward(const MujocoTask& task, const MujocoStep& step) {
  return -step.before - static_cast<double>(action_squares(task, step.action));
}

double reacher_v5_reward(const MujocoTask& task, const MujocoStep& step) {
  return -step.after - static_cast<double>(action_squares(task, step.action));
}

// As numpy.linalg.norm. std::hypot guards against numbers that no task has, and its newest version
// needs glibc 2.35.
double distance_from_origin(double x, double y) { return std::sqrt(x * x + y * y); }

// A target in the disc of radius 0.2, at rest.
void place_target(const MujocoTask&, Random& random, double* qpos, double* qvel) {
  do {
    qpos[2] = 0.2 * (2.0 * random.uniform() - 1);
    qpos[3] = 0.2 * (2.0 * random.uniform() - 1);
  } while (!(distance_from_origin(qpos[2], qpos[3]) < 0.2));
  qvel[2] = qvel[3] = 0;
}

constexpr int kTip = 10, kObject = 11, kGoal = 12;  // bodies of pusher_v5.xml

void observe_pusher(const MujocoTask&, const MujocoView& view, double* out) {
  out = std::copy(view.qpos, view.qpos + 7, out);
  out = std::copy(view.qvel, view.qvel + 7, out);
  std::copy(view.fields[kXpos] + 3 * kTip, view.fields[kXpos] + 3 * (kGoal + 1), out);
}

double pusher_reward(const MujocoTask& task, const MujocoStep& step) {
  const double near = 0.5 * between(step.now, kTip, kObject).length();
  const double distance = between(step.now, kGoal, kObject).length();
  const float cost =
      static_cast<float>(task.control_cost_weight) * action_squares(task, step.action);
  return -distance - static_cast<double>(cost) - near;
}

// The object beside the goal, not nearer than 0.17, both at rest.
void place_object(const MujocoTask&, Random& random, double* qpos, double* qvel) {
  do {
    qpos[7] = -0.3 * random.uniform();
    qpos[8] = 0.2 * (2.0 * random.uniform() - 1);
  } while (!(distance_from_origin(qpos[7], qpos[8]) > 0.17));
  qpos[9] = qpos[10] = 0;
  std::fill(qvel + 7, qvel + 11, 0.0);
}

double nothing(const MujocoTask&, const MujocoView&) { return 0; }

constexpr MujocoTask inverted_pendulum(const char* name, bool v5) {
  MujocoTask task;
  task.name = name;
  task.qpos_size = task.qvel_size = 2;
  task.action_size = 1;
  task.observation_size = 4;
  task.frame_skip = 2;
  task.timestep_seconds = 0.02;
  task.healthy_reward = 1;
  task.healthy_reward_when_unhealthy = !v5;
  task.position_noise = task.velocity_noise = 0.01;
  task.observe = observe_pendulum;
  task.healthy = pendulum_healthy;
  task.measure = nothing;
  task.reward = alive_reward;
  return task;
}

constexpr MujocoTask inverted_double_pendulum(const char* name, bool v5) {
  MujocoTask task;
  task.name = name;
  task.qpos_size = task.qvel_size = 3;
  task.action_size = 1;
  task.body_count = 4;
  task.observation_size = v5 ? 9 : 11;
  task.fields = 1u << kSiteXpos | 1u << kQfrcConstraint;
  task.frame_skip = 5;
  task.timestep_seconds = 0.01;
  task.healthy_reward = 10;
  task.healthy_reward_when_unhealthy = !v5;
  task.position_noise = task.velocity_noise = 0.1;
  task.normal_velocity_noise = true;
  task.observe = observe_double_pendulum;
  task.healthy = double_pendulum_healthy;
  task.measure = nothing;
  task.reward = double_pendulum_reward;
  return task;
}

constexpr MujocoTask reacher(const char* name, bool v5) {
  MujocoTask task;
  task.name = name;
  task.qpos_size = task.qvel_size = 4;
  task.action_size = 2;
  task.body_count = 5;
  task.observation_size = v5 ? 10 : 11;
  task.fields = 1u << kXpos;
  task.frame_skip = 2;
  task.timestep_seconds = 0.01;
  task.position_noise = 0.1;
  task.velocity_noise = 0.005;
  task.observe = observe_reacher;
  task.healthy = always_healthy;
  task.measure = reacher_distance;
  task.reward = v5 ? reacher_v5_reward : reacher_v4_reward;
  task.place = place_target;
  return task;
}

constexpr MujocoTask pusher(const char* name) {
  MujocoTask task;
  task.name = name;
  task.qpos_size = task.qvel_size = 11;
  task.action_size = 7;
  task.body_count = 13;
  task.observation_size = 23;
  task.fields = 1u << kXpos;
  task.frame_skip = 5;
  task.timestep_seconds = 0.01;
  task.control_cost_weight = 0.1;
  task.velocity_noise = 0.005;
  task.observe = observe_pusher;
  task.healthy = always_healthy;
  task.measure = nothing;
  task.reward = pusher_reward;
  task.place = place_object;
  return task;
}

constexpr MujocoTask kTasks[] = {
    inverted_pendulum("InvertedPendulum-v4", false),
    inverted_pendulum("InvertedPendulum-v5", true),
    inverted_double_pendulum("InvertedDoublePendulum-v4", false),
    inverted_double_pendulum("InvertedDoublePendulum-v5", true),
    reacher("Reacher-v4", false),
    reacher("Reacher-v5", true),
    pusher("Pusher-v5"),
};

}  // namespace

MujocoTaskTable control_tasks() { return {std::begin(kTasks), std::end(kTasks)}; }

}  // namespace edgedst
