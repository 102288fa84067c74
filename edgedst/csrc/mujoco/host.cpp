#include "mujoco/host.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "numbers/random.h"

namespace edgedst {
namespace {

const MujocoTask& task_named(const std::string& name) {
  const MujocoTask* task = find_mujoco_task(name);
  if (task == nullptr)
    throw std::invalid_argument("`" + name + "` is not a task of the native MuJoCo host.");
  return *task;
}

// What a state blob begins with.
struct StateHeader {
  uint32_t magic;
  int32_t mujoco_version;
  uint32_t bits;
  uint32_t doubles;
};
constexpr uint32_t kMagic = 0x4a4d4445;  // "EDMJ"

// As MuJoCo's packages are called: 337 and 3017000 are 3.3.7 and 3.17.0.
std::string version_name(int64_t version) {
  const int64_t base = version < 1000 ? 10 : 1000;
  return std::to_string(version / (base * base)) + "." + std::to_string(version / base % base) +
         "." + std::to_string(version % base);
}

const char* const kReinstall =
    " Reinstall MuJoCo (`pip install --force-reinstall mujoco`), or pass `--env-process` to run "
    "the task through "
    "gymnasium.";

}  // namespace

MujocoHost::MujocoHost(const std::string& library, const std::string& model_file,
                       const std::string& task, const std::map<std::string, int64_t>& state_bits,
                       const std::vector<std::string>& factors)
    : task_(task_named(task)),
      factor_count_(factors.size()),
      time_bit_(state_bit(state_bits, "TIME")),
      qpos_bit_(state_bit(state_bits, "QPOS")),
      qvel_bit_(state_bit(state_bits, "QVEL")),
      ctrl_bit_(state_bit(state_bits, "CTRL")) {
  const auto header = state_bits.find("VERSION_HEADER");
  for (const auto& [name, bit] : state_bits)
    if (name != "VERSION_HEADER") all_bits_ |= state_bit(state_bits, name.c_str());
  model_ = MujocoModel::shared(library, model_file, warnings_);
  const int version = model_->library.version();
  if (header == state_bits.end() || header->second != version)
    throw std::invalid_argument(
        "MuJoCo's headers are of version " +
        (header == state_bits.end() ? std::string("unknown") : version_name(header->second)) +
        ", its library is of version " + version_name(version) + "." + kReinstall);
  if (!factors.empty()) {
    try {
      factors_.emplace(model_, factors, warnings_);
    } catch (const std::runtime_error& error) {
      refuse(std::string(error.what()) + ".");
    } catch (const std::invalid_argument& error) {
      refuse(error.what());
    }
    model_ = factors_->model();
  }
  check_size("TIME", time_bit_, 1);
  check_size("QPOS", qpos_bit_, task_.qpos_size);
  check_size("QVEL", qvel_bit_, task_.qvel_size);
  check_size("CTRL", ctrl_bit_, task_.action_size);
  if (task_.fields != 0)
    check_size("XFRC_APPLIED", state_bit(state_bits, "XFRC_APPLIED"), 6 * task_.body_count);
  int doubles = 0;
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] { doubles = mujoco.state_size(model_->model, all_bits_); });
  data_.emplace(model_, warnings_);
  qpos_.resize(task_.qpos_size);
  qvel_.resize(task_.qvel_size);
  ctrl_.resize(task_.action_size);
  initial_qpos_.resize(task_.qpos_size);
  initial_qvel_.resize(task_.qvel_size);
  observation_.resize(task_.observation_size);
  state_.resize(doubles + carried());
  get(initial_qpos_.data(), qpos_bit_);
  get(initial_qvel_.data(), qvel_bit_);
  self_check();
  if (task_.fields != 0) find_fields(state_bit(state_bits, "XFRC_APPLIED"));
  set_position_velocity(initial_qpos_.data(), initial_qvel_.data());
}

int MujocoHost::state_bit(const std::map<std::string, int64_t>& bits, const char* name) const {
  const auto found = bits.find(name);
  const int64_t bit = found == bits.end() ? 0 : found->second;
  if (bit <= 0 || bit > (INT64_C(1) << 30) || (bit & (bit - 1)) != 0)
    throw std::invalid_argument(std::string("MuJoCo's headers do not say which bit mjSTATE_") +
                                name + " is." + kReinstall);
  return static_cast<int>(bit);
}

void MujocoHost::refuse(const std::string& what) const {
  throw std::invalid_argument(std::string("Self-check of ") + task_.name + ": " + what +
                              kReinstall);
}

void MujocoHost::check_size(const char* name, int bit, int expected) {
  int size = -1;
  try {
    model_->library.call(warnings_, [&] { size = model_->library.state_size(model_->model, bit); });
  } catch (const std::runtime_error& error) {
    refuse(std::string(name) + " cannot be read. " + error.what() + ".");
  }
  if (size != expected)
    refuse(std::string(name) + " has " + std::to_string(size) +
           " numbers in this MuJoCo and model, " + std::to_string(expected) + " were expected.");
}

// Sizes can agree by accident (HalfCheetah: qpos, qvel and warmstart are 9 numbers each), so one
// step in free flight shows that positions, velocities and time are what they are called.
void MujocoHost::self_check() {
  const MujocoLibrary& mujoco = model_->library;
  Random random(20211);
  std::vector<double> written(task_.qpos_size + task_.qvel_size + task_.action_size);
  std::vector<double> read(written.size());
  for (double& value : written) value = 2.0 * random.uniform() - 1;
  const int starts[] = {0, task_.qpos_size, task_.qpos_size + task_.qvel_size};
  const int bits[] = {qpos_bit_, qvel_bit_, ctrl_bit_};
  for (int i = 0; i < 3; ++i) put(written.data() + starts[i], bits[i]);
  for (int i = 0; i < 3; ++i) get(read.data() + starts[i], bits[i]);
  if (written != read) refuse("a state that was written does not read back.");

  mujoco.call(warnings_, [&] { mujoco.reset_data(model_->model, data_->get()); });
  qpos_ = initial_qpos_;
  qvel_ = initial_qvel_;
  if (task_.height_index >= 0) qpos_[task_.height_index] += 1;
  qvel_[0] = 1;  // metres a second
  put(qpos_.data(), qpos_bit_);
  put(qvel_.data(), qvel_bit_);
  double before = -1, after = -1;
  get(&before, time_bit_);
  try {
    mujoco.call(warnings_, [&] { mujoco.step(model_->model, data_->get()); });
  } catch (const std::runtime_error& error) {
    refuse(std::string(error.what()) + ".");
  }
  get(&after, time_bit_);
  if (after - before != task_.timestep_seconds)
    refuse("a step takes " + std::to_string(after - before) + " s in this MuJoCo and model, " +
           std::to_string(task_.timestep_seconds) + " s were expected.");
  get(qpos_.data(), qpos_bit_);
  const double moved = qpos_[0] - initial_qpos_[0];
  if (!(std::abs(moved / task_.timestep_seconds - 1) < 0.1))
    refuse("at 1 m/s a step moved the body by " + std::to_string(moved) + " m, " +
           std::to_string(task_.timestep_seconds) + " m were expected.");
}

// In states in which everything moves, bends past its limits and is pushed, MuJoCo prints the
// fields by name; one place in mjData holds the same numbers in both of them.
void MujocoHost::find_fields(int applied_force_bit) {
  // By MujocoField.
  constexpr const char* kNames[] = {"XPOS",     "XIPOS",         "CINERT",          "CVEL",
                                    "CFRC_EXT", "QFRC_ACTUATOR", "QFRC_CONSTRAINT", "SITE_XPOS"};
  static_assert(sizeof kNames / sizeof kNames[0] == kMujocoFields);
  const MujocoLibrary& mujoco = model_->library;
  std::vector<MujocoData::Field> fields;
  for (int field = 0; field < kMujocoFields; ++field)
    if (task_.fields >> field & 1)
      fields.push_back(data_->field(kNames[field], task_.field_size(field)));

  Random random(20212);
  std::vector<double> force(6 * task_.body_count);
  for (int state = 0; state < 2; ++state) {
    mujoco.call(warnings_, [&] { mujoco.reset_data(model_->model, data_->get()); });
    for (double& q : qpos_) {
      const double size = 1 + random.uniform();
      q = random.uniform() < 0.5 ? -size : size;
    }
    if (task_.height_index >= 0) qpos_[task_.height_index] += 100;  // nothing meets the ground
    for (double& v : qvel_) v = 2.0 * random.uniform() - 1;
    for (double& c : ctrl_) c = 0.1 + 0.2 * random.uniform();
    for (double& f : force) f = 2.0 * random.uniform() - 1;
    std::fill(force.begin(), force.begin() + 6, 0.0);  // nobody pushes the world
    put(qpos_.data(), qpos_bit_);
    put(qvel_.data(), qvel_bit_);
    put(ctrl_.data(), ctrl_bit_);
    put(force.data(), applied_force_bit);
    try {
      mujoco.call(warnings_, [&] {
        mujoco.forward(model_->model, data_->get());
        mujoco.rne_post_constraint(model_->model, data_->get());
      });
      data_->narrow(fields, warnings_);
    } catch (const std::runtime_error& error) {
      refuse(std::string(error.what()) + ".");
    } catch (const std::invalid_argument& error) {
      refuse(error.what());
    }
  }
  size_t next = 0;
  for (int field = 0; field < kMujocoFields; ++field) {
    if (!(task_.fields >> field & 1)) continue;
    const MujocoData::Field& found = fields[next++];
    if (found.candidates.size() != 1)
      refuse(std::to_string(found.candidates.size()) +
             " fields of mjData hold what MuJoCo prints of " + found.name + ".");
    fields_[field] = found.candidates[0];
  }
}

void MujocoHost::put(const double* values, int bits) {
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] { mujoco.set_state(model_->model, data_->get(), values, bits); });
}

void MujocoHost::get(double* values, int bits) {
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] { mujoco.get_state(model_->model, data_->get(), values, bits); });
}

std::vector<std::pair<int, double>> MujocoHost::constants() const {
  std::vector<int> indices;
  if (task_.constants != nullptr) task_.constants(task_, indices);
  std::vector<std::pair<int, double>> constants;
  // A mass that changes is no constant; what is 0 stays it.
  const bool masses_change = factors_ && factors_->of_mass();
  for (const int index : indices)
    if (!masses_change || observation_[index] == 0)
      constants.emplace_back(index, observation_[index]);
  return constants;
}

void MujocoHost::observe() {
  task_.observe(task_, view(), observation_.data());
  measure_ = task_.measure(task_, view());
}

std::vector<std::string> MujocoHost::idle_factors() const {
  return factors_ ? factors_->idle() : std::vector<std::string>();
}

void MujocoHost::multiply(const double* factors) {
  if (factors_) factors_->apply(factors, data_->get(), warnings_);
}

void MujocoHost::set_position_velocity(const double* qpos, const double* qvel) {
  std::copy(qpos, qpos + task_.qpos_size, qpos_.begin());
  std::copy(qvel, qvel + task_.qvel_size, qvel_.begin());
  begin();
}

void MujocoHost::reset(uint64_t seed) {
  Random random(seed);
  for (int i = 0; i < task_.qpos_size; ++i)
    qpos_[i] = initial_qpos_[i] + task_.position_noise * (2.0 * random.uniform() - 1);
  for (int i = 0; i < task_.qvel_size; ++i)
    qvel_[i] = initial_qvel_[i] + task_.velocity_noise * (task_.normal_velocity_noise
                                                              ? static_cast<double>(random.normal())
                                                              : 2.0 * random.uniform() - 1);
  if (task_.place != nullptr) task_.place(task_, random, qpos_.data(), qvel_.data());
  begin();
}

// Nothing of the simulation before is left, the solver's warm start included.
void MujocoHost::begin() {
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] {
    mujoco.reset_data(model_->model, data_->get());
    mujoco.set_state(model_->model, data_->get(), qpos_.data(), qpos_bit_);
    mujoco.set_state(model_->model, data_->get(), qvel_.data(), qvel_bit_);
    mujoco.forward(model_->model, data_->get());
  });
  observe();
}

double MujocoHost::step(const float* action, bool* terminated) {
  const double before = measure_;
  std::copy(action, action + task_.action_size, ctrl_.begin());
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] {
    void* const data = data_->get();
    mujoco.set_state(model_->model, data, ctrl_.data(), ctrl_bit_);
    for (int frame = 0; frame < task_.frame_skip; ++frame) mujoco.step(model_->model, data);
    // gymnasium always calls it; it fills external forces and changes nothing that moves.
    if (task_.fields >> kCfrcExt & 1) mujoco.rne_post_constraint(model_->model, data);
    mujoco.get_state(model_->model, data, qpos_.data(), qpos_bit_);
    mujoco.get_state(model_->model, data, qvel_.data(), qvel_bit_);
    mujoco.get_state(model_->model, data, ctrl_.data(), ctrl_bit_);
  });
  observe();
  const bool healthy = task_.healthy(task_, view());
  *terminated = !healthy;
  return task_.reward(task_, {view(), action, ctrl_.data(), before, measure_, healthy});
}

size_t MujocoHost::state_bytes() const {
  return sizeof(StateHeader) + state_.size() * sizeof(double);
}

void MujocoHost::state(unsigned char* out) {
  get(state_.data(), all_bits_);
  if (carried() > 0) {
    std::copy(observation_.begin(), observation_.end(), state_.end() - carried());
    state_.back() = measure_;
  }
  const StateHeader header = {kMagic, model_->library.version(), static_cast<uint32_t>(all_bits_),
                              static_cast<uint32_t>(state_.size())};
  std::memcpy(out, &header, sizeof header);
  std::memcpy(out + sizeof header, state_.data(), state_.size() * sizeof(double));
}

void MujocoHost::set_state(const unsigned char* bytes, size_t size) {
  StateHeader header = {};
  if (size >= sizeof header) std::memcpy(&header, bytes, sizeof header);
  const int version = model_->library.version();
  // Before anything else: another version mostly has other bits and sizes, too.
  if (header.magic == kMagic && header.mujoco_version != version) {
    const std::string saved_by = version_name(header.mujoco_version);
    throw std::invalid_argument("The simulation state was saved by MuJoCo " + saved_by +
                                " and this is MuJoCo " + version_name(version) +
                                ": it would not go on the same. Install the one that saved it: "
                                "`pip install mujoco==" +
                                saved_by + "`.");
  }
  if (header.magic != kMagic || size != state_bytes() || header.doubles != state_.size() ||
      header.bits != static_cast<uint32_t>(all_bits_))
    throw std::invalid_argument(std::string("The saved simulation state (") + std::to_string(size) +
                                " bytes) does not belong to " + task_.name + " on this MuJoCo (" +
                                std::to_string(state_bytes()) + " bytes).");
  std::memcpy(state_.data(), bytes + sizeof header, state_.size() * sizeof(double));
  put(state_.data(), all_bits_);
  get(qpos_.data(), qpos_bit_);
  get(qvel_.data(), qvel_bit_);
  if (carried() == 0) {
    observe();
  } else {  // the fields come of substeps that are over: MuJoCo's state does not hold them
    std::copy(state_.end() - carried(), state_.end() - 1, observation_.begin());
    measure_ = state_.back();
  }
}

}  // namespace edgedst
