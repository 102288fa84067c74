// MuJoCo tasks stepped on an installed libmujoco through its functions alone: no struct of MuJoCo's
// is ever read, so one build serves every version that has mj_getState. The tasks' own rules are in
// mujoco_tasks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "mujoco_tasks.h"

namespace edgedst {

// The library cannot be loaded; the binding makes an OSError of it. Everything else is
// std::invalid_argument (not what the task expects) or std::runtime_error (MuJoCo itself reported
// an error).
struct MujocoLibraryError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// MuJoCo's warnings, bounded and without allocation.
class MujocoWarnings {
 public:
  void add(const char* text);
  std::vector<std::string> take();

 private:
  static constexpr int kKept = 16;
  std::array<std::array<char, 256>, kKept> texts_;
  int count_ = 0;
  int64_t dropped_ = 0;
};

struct MujocoModel;  // a library and a compiled model, shared by hosts of equal files

class MujocoHost {
 public:
  // `state_bits`: mjtState by name from the installed headers, and VERSION_HEADER, their
  // mjVERSION_HEADER.
  MujocoHost(const std::string& library, const std::string& model_file, const std::string& task,
             const std::map<std::string, int64_t>& state_bits);
  ~MujocoHost();
  MujocoHost(const MujocoHost&) = delete;
  MujocoHost& operator=(const MujocoHost&) = delete;

  const MujocoTask& task() const { return task_; }
  double* observation() { return observation_.data(); }
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
  void check_size(const char* name, int bit, int expected);
  void put(const double* values, int bits);
  void get(double* values, int bits);
  void observe();

  const MujocoTask& task_;
  MujocoWarnings warnings_;
  std::shared_ptr<MujocoModel> model_;
  void* data_ = nullptr;
  int time_bit_, qpos_bit_, qvel_bit_, ctrl_bit_, all_bits_ = 0;
  std::vector<double> qpos_, qvel_, ctrl_, initial_qpos_, initial_qvel_, observation_, state_;
};

}  // namespace edgedst
