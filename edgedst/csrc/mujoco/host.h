// MuJoCo tasks stepped on an installed libmujoco. State goes through its functions; the few fields
// of mjData that no function returns are found by data.h. So one build serves every version
// that has mj_getState. The tasks' own rules are in tasks.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mujoco/data.h"
#include "mujoco/factors.h"
#include "mujoco/library.h"
#include "mujoco/tasks.h"

namespace edgedst {

class MujocoHost {
 public:
  // `state_bits`: mjtState by name from the installed headers, and VERSION_HEADER, their
  // mjVERSION_HEADER. `factors`: what `multiply` changes (mujoco/factors.h); with some, the model
  // is this simulation's own.
  MujocoHost(const std::string& library, const std::string& model_file, const std::string& task,
             const std::map<std::string, int64_t>& state_bits,
             const std::vector<std::string>& factors = {});
  MujocoHost(const MujocoHost&) = delete;
  MujocoHost& operator=(const MujocoHost&) = delete;

  const MujocoTask& task() const { return task_; }
  double* observation() { return observation_.data(); }
  double* position() { return qpos_.data(); }  // of each joint, after the last step or reset
  // The task's constant observations, before anything else happens to the host.
  std::vector<std::pair<int, double>> constants() const;
  size_t factor_count() const { return factor_count_; }
  std::vector<std::string> idle_factors() const;  // that multiply nothing but zeros
  // Before a reset or set_state. Numbers of the episode under way are lost. Allocates nothing.
  void multiply(const double* factors);
  void reset(uint64_t seed);
  double step(const float* action, bool* terminated);  // allocates nothing
  size_t state_bytes() const;
  void state(unsigned char* out);
  void set_state(const unsigned char* bytes, size_t size);
  void set_position_velocity(const double* qpos, const double* qvel);
  std::vector<std::string> take_warnings() { return warnings_.take(); }

 private:
  int state_bit(const std::map<std::string, int64_t>& bits, const char* name) const;
  void self_check();
  void find_fields(int applied_force_bit);
  [[noreturn]] void refuse(const std::string& what) const;
  void check_size(const char* name, int bit, int expected);
  void put(const double* values, int bits);
  void get(double* values, int bits);
  MujocoView view() const { return {qpos_.data(), qvel_.data(), fields_.data()}; }
  void begin();
  void observe();
  size_t carried() const { return task_.fields == 0 ? 0 : observation_.size() + 1; }

  const MujocoTask& task_;
  MujocoWarnings warnings_;
  std::optional<MujocoFactors> factors_;
  size_t factor_count_;
  std::shared_ptr<MujocoModel> model_;
  std::optional<MujocoData> data_;
  std::array<const double*, kMujocoFields> fields_ = {};
  double measure_ = 0;  // the task's, now
  int time_bit_, qpos_bit_, qvel_bit_, ctrl_bit_, all_bits_ = 0;
  std::vector<double> qpos_, qvel_, ctrl_, initial_qpos_, initial_qvel_, observation_, state_;
};

}  // namespace edgedst
