#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "mujoco/tasks.h"

namespace edgedst {
namespace {

// Source: gymnasium/envs/mujoco/{half_cheetah,hopper,walker2d,ant,humanoid,swimmer}_v{4,5}.py with
// default arguments.

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Position without its first entries (the agent must not know how far it came), then velocity.
// Returns the end.
double* observe_state(const MujocoTask& task, const MujocoView& view, int hidden, double* out) {
  out = std::copy(view.qpos + hidden, view.qpos + task.qpos_size, out);
  return std::copy(view.qvel, view.qvel + task.qvel_size, out);
}

void observe_planar(const MujocoTask& task, const MujocoView& view, double* out) {
  observe_state(task, view, 1, out);
}

void observe_clipped(const MujocoTask& task, const MujocoView& view, double* out) {
  double* const end = observe_state(task, view, 1, out);
  for (double* v = end - task.qvel_size; v != end; ++v) *v = clip(*v, -10, 10);
}

void observe_free(const MujocoTask& task, const MujocoView& view, double* out) {
  observe_state(task, view, 2, out);
}

void observe_ant_v5(const MujocoTask& task, const MujocoView& view, double* out) {
  out = observe_state(task, view, 2, out);
  const double* const forces = view.fields[kCfrcExt];
  for (int i = 6; i < task.field_size(kCfrcExt); ++i) *out++ = clip(forces[i], -1, 1);
}

// v5 leaves out what never moves: the world body, and the root's six degrees of freedom, which have
// no actuator.
void observe_humanoid(const MujocoTask& task, const MujocoView& view, double* out, bool v5) {
  out = observe_state(task, view, 2, out);
  const auto append = [&](MujocoField field, int left_out) {
    const double* const numbers = view.fields[field];
    out = std::copy(numbers + (v5 ? left_out : 0), numbers + task.field_size(field), out);
  };
  append(kCinert, 10);
  append(kCvel, 6);
  append(kQfrcActuator, 6);
  append(kCfrcExt, 6);
}

void observe_humanoid_v4(const MujocoTask& task, const MujocoView& view, double* out) {
  observe_humanoid(task, view, out, false);
}

void observe_humanoid_v5(const MujocoTask& task, const MujocoView& view, double* out) {
  observe_humanoid(task, view, out, true);
}

// The world body's inertia and velocity, the masses at the end of the bodies' inertias, the root's
// actuator forces, forces on the world body: MuJoCo keeps all but the masses at 0.
void humanoid_constants(const MujocoTask& task, std::vector<int>& indices, bool v5) {
  int next = task.qpos_size - 2 + task.qvel_size;
  const auto append = [&](MujocoField field, int world, bool masses) {
    const int left_out = v5 ? world : 0;
    for (int i = left_out; i < task.field_size(field); ++i)
      if (i < world || (masses && i % 10 == 9)) indices.push_back(next + i - left_out);
    next += task.field_size(field) - left_out;
  };
  append(kCinert, 10, true);
  append(kCvel, 6, false);
  append(kQfrcActuator, 6, false);
  append(kCfrcExt, 6, false);
}

void humanoid_v4_constants(const MujocoTask& task, std::vector<int>& indices) {
  humanoid_constants(task, indices, false);
}

void humanoid_v5_constants(const MujocoTask& task, std::vector<int>& indices) {
  humanoid_constants(task, indices, true);
}

bool hopper_healthy(const MujocoTask& task, const MujocoView& view) {
  for (int i = 2; i < task.qpos_size; ++i)
    if (!inside(view.qpos[i], -100, 100)) return false;
  for (int i = 0; i < task.qvel_size; ++i)
    if (!inside(view.qvel[i], -100, 100)) return false;
  return inside(view.qpos[1], 0.7, kInfinity) && inside(view.qpos[2], -0.2, 0.2);
}

bool walker2d_healthy(const MujocoTask&, const MujocoView& view) {
  return inside(view.qpos[1], 0.8, 2) && inside(view.qpos[2], -1, 1);
}

bool ant_healthy(const MujocoTask& task, const MujocoView& view) {
  for (int i = 0; i < task.qpos_size; ++i)
    if (!std::isfinite(view.qpos[i])) return false;
  for (int i = 0; i < task.qvel_size; ++i)
    if (!std::isfinite(view.qvel[i])) return false;
  return 0.2 <= view.qpos[2] && view.qpos[2] <= 1;
}

bool humanoid_healthy(const MujocoTask&, const MujocoView& view) {
  return inside(view.qpos[2], 1, 2);
}

double torso_x(const MujocoTask&, const MujocoView& view) {
  return view.fields[kXpos][3];  // body 1
}

// The last number of a body's inertia is its mass.
double mass_centre_x(const MujocoTask& task, const MujocoView& view) {
  double moment = 0, mass = 0;
  for (int body = 0; body < task.body_count; ++body) {
    const double body_mass = view.fields[kCinert][10 * body + 9];
    moment += body_mass * view.fields[kXipos][3 * body];
    mass += body_mass;
  }
  return moment / mass;
}

double velocity_and_health(const MujocoTask& task, const MujocoStep& step, double weight = 1) {
  const double velocity = (step.after - step.before) / task.step_seconds();
  return weight * velocity + alive_reward(task, step);
}

// Forward velocity + healthy reward - control cost. The cost is float32 all the way, as NumPy
// computes it from float32 actions.
double locomotion_reward(const MujocoTask& task, const MujocoStep& step) {
  const float cost =
      static_cast<float>(task.control_cost_weight) * action_squares(task, step.action);
  return velocity_and_health(task, step) - static_cast<double>(cost);
}

double ant_v5_reward(const MujocoTask& task, const MujocoStep& step) {
  double squares = 0;
  for (int i = 0; i < task.field_size(kCfrcExt); ++i) {
    const double force = clip(step.now.fields[kCfrcExt][i], -1, 1);
    squares += force * force;
  }
  return locomotion_reward(task, step) - 5e-4 * squares;
}

// The cost is that of mjData's ctrl, in float64.
double humanoid_v4_reward(const MujocoTask& task, const MujocoStep& step) {
  double squares = 0;
  for (int i = 0; i < task.action_size; ++i) squares += step.control[i] * step.control[i];
  return velocity_and_health(task, step, 1.25) - task.control_cost_weight * squares;
}

double humanoid_v5_reward(const MujocoTask& task, const MujocoStep& step) {
  double squares = 0;
  for (int i = 0; i < task.field_size(kCfrcExt); ++i)
    squares += step.now.fields[kCfrcExt][i] * step.now.fields[kCfrcExt][i];
  return humanoid_v4_reward(task, step) - clip(5e-7 * squares, -kInfinity, 10);
}

constexpr MujocoTask planar(const char* name, int positions, int actions) {
  MujocoTask task;
  task.name = name;
  task.qpos_size = task.qvel_size = positions;
  task.action_size = actions;
  task.observation_size = 2 * positions - 1;
  task.height_index = 1;
  task.measure = first_position;
  task.reward = locomotion_reward;
  return task;
}

constexpr MujocoTask half_cheetah(const char* name) {
  MujocoTask task = planar(name, 9, 6);
  task.frame_skip = 5;
  task.timestep_seconds = 0.01;
  task.control_cost_weight = 0.1;
  task.position_noise = task.velocity_noise = 0.1;
  task.normal_velocity_noise = true;
  task.observe = observe_planar;
  task.healthy = always_healthy;
  return task;
}

// On one leg or two.
constexpr MujocoTask walker(const char* name, int positions, int actions, bool v5) {
  MujocoTask task = planar(name, positions, actions);
  task.frame_skip = 4;
  task.timestep_seconds = 0.002;
  task.control_cost_weight = 1e-3;
  task.healthy_reward = 1;
  task.healthy_reward_when_unhealthy = !v5;
  task.position_noise = task.velocity_noise = 5e-3;
  task.observe = observe_clipped;
  return task;
}

constexpr MujocoTask hopper(const char* name, bool v5) {
  MujocoTask task = walker(name, 6, 3, v5);
  task.healthy = hopper_healthy;
  return task;
}

constexpr MujocoTask walker2d(const char* name, bool v5) {
  MujocoTask task = walker(name, 9, 6, v5);
  task.healthy = walker2d_healthy;
  return task;
}

constexpr MujocoTask ant(const char* name, bool v5) {
  MujocoTask task;
  task.name = name;
  task.qpos_size = 15;
  task.qvel_size = 14;
  task.action_size = 8;
  task.body_count = 14;
  task.observation_size = v5 ? 105 : 27;
  task.fields = 1u << kXpos | (v5 ? 1u << kCfrcExt : 0);
  task.height_index = 2;
  task.frame_skip = 5;
  task.timestep_seconds = 0.01;
  task.control_cost_weight = 0.5;
  task.healthy_reward = 1;
  task.healthy_reward_when_unhealthy = !v5;
  task.position_noise = task.velocity_noise = 0.1;
  task.normal_velocity_noise = true;
  task.observe = v5 ? observe_ant_v5 : observe_free;
  task.healthy = ant_healthy;
  task.measure = torso_x;
  task.reward = v5 ? ant_v5_reward : locomotion_reward;
  return task;
}

constexpr MujocoTask humanoid(const char* name, bool v5) {
  MujocoTask task;
  task.name = name;
  task.qpos_size = 24;
  task.qvel_size = 23;
  task.action_size = 17;
  task.body_count = 14;
  task.observation_size = v5 ? 348 : 376;
  task.fields = 1u << kXipos | 1u << kCinert | 1u << kCvel | 1u << kQfrcActuator | 1u << kCfrcExt;
  task.height_index = 2;
  task.frame_skip = 5;
  task.timestep_seconds = 0.003;
  task.control_cost_weight = 0.1;
  task.healthy_reward = 5;
  task.healthy_reward_when_unhealthy = !v5;
  task.position_noise = task.velocity_noise = 1e-2;
  task.observe = v5 ? observe_humanoid_v5 : observe_humanoid_v4;
  task.constants = v5 ? humanoid_v5_constants : humanoid_v4_constants;
  task.healthy = humanoid_healthy;
  task.measure = mass_centre_x;
  task.reward = v5 ? humanoid_v5_reward : humanoid_v4_reward;
  return task;
}

constexpr MujocoTask swimmer(const char* name) {
  MujocoTask task;
  task.name = name;
  task.qpos_size = task.qvel_size = 5;
  task.action_size = 2;
  task.observation_size = 8;
  task.frame_skip = 4;
  task.timestep_seconds = 0.01;
  task.control_cost_weight = 1e-4;
  task.position_noise = task.velocity_noise = 0.1;
  task.observe = observe_free;
  task.healthy = always_healthy;
  task.measure = first_position;
  task.reward = locomotion_reward;
  return task;
}

constexpr MujocoTask kTasks[] = {
    half_cheetah("HalfCheetah-v4"), half_cheetah("HalfCheetah-v5"),
    hopper("Hopper-v4", false),     hopper("Hopper-v5", true),
    walker2d("Walker2d-v4", false), walker2d("Walker2d-v5", true),
    ant("Ant-v4", false),           ant("Ant-v5", true),
    humanoid("Humanoid-v4", false), humanoid("Humanoid-v5", true),
    swimmer("Swimmer-v4"),          swimmer("Swimmer-v5"),
};

}  // namespace

MujocoTaskTable locomotion_tasks() { return {std::begin(kTasks), std::end(kTasks)}; }

}  // namespace edgedst
