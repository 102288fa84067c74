#include "mujoco_host.h"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <limits>

#include "random.h"

namespace edgedst {
namespace {

// ---- Calls into MuJoCo. Its default handlers print, write MUJOCO_LOG.TXT and end the process;
// ours are in place only while a call of ours runs, so that MuJoCo's own Python bindings may live
// in the same process.

using Handler = void (*)(const char*);

struct Call {
  std::jmp_buf back;
  char error[512];
  MujocoWarnings* warnings;
};
thread_local Call* current_call = nullptr;

void on_warning(const char* text) {
  if (current_call != nullptr) current_call->warnings->add(text);
}

// Returning would end the process. MuJoCo's frames below are C; whatever they held on their stacks
// is lost.
void on_error(const char* text) {
  std::snprintf(current_call->error, sizeof current_call->error, "%s", text);
  std::longjmp(current_call->back, 1);
}

}  // namespace

struct MujocoLibrary {
  explicit MujocoLibrary(const std::string& path);

  // Run `body`, which must hold nothing that needs a destructor. Throws std::runtime_error with
  // MuJoCo's words.
  template <typename Body>
  void call(MujocoWarnings& warnings, Body body) const {
    Call frame;
    frame.warnings = &warnings;
    Call* const outer_call = current_call;
    const Handler outer_error = *user_error, outer_warning = *user_warning;
    current_call = &frame;
    *user_error = on_error;
    *user_warning = on_warning;
    // Nothing local changes between setjmp and longjmp, so nothing here needs to be volatile.
    const bool failed = setjmp(frame.back) != 0;
    if (!failed) body();
    *user_error = outer_error;
    *user_warning = outer_warning;
    current_call = outer_call;
    if (failed) throw std::runtime_error(std::string("MuJoCo reported an error: ") + frame.error);
  }

  // mjModel, mjData and mjVFS are never looked into, so void* will do; mjtNum is double in every
  // wheel.
  void* (*load_xml)(const char*, const void*, char*, int);
  void (*delete_model)(void*);
  void* (*make_data)(const void*);
  void (*delete_data)(void*);
  void (*reset_data)(const void*, void*);
  void (*step)(const void*, void*);
  void (*forward)(const void*, void*);
  int (*state_size)(const void*, unsigned);
  void (*get_state)(const void*, const void*, double*, unsigned);
  void (*set_state)(const void*, void*, const double*, unsigned);
  int (*version)();
  void (*free_last_xml)();  // may be missing
  Handler* user_error;
  Handler* user_warning;
};

namespace {

template <typename Pointer>
void find(void* handle, const std::string& path, const char* name, Pointer& pointer) {
  void* symbol = dlsym(handle, name);
  if (symbol == nullptr)
    throw std::invalid_argument(
        path + " has no `" + name +
        "`: edgedst needs MuJoCo 3.2 or newer. Try `pip install -U mujoco`.");
  std::memcpy(&pointer, &symbol, sizeof pointer);
}

}  // namespace

MujocoLibrary::MujocoLibrary(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays loaded
  if (handle == nullptr) {
    const char* why = dlerror();
    throw MujocoLibraryError("MuJoCo's library cannot be loaded: " +
                             std::string(why != nullptr ? why : path.c_str()));
  }
  find(handle, path, "mj_loadXML", load_xml);
  find(handle, path, "mj_deleteModel", delete_model);
  find(handle, path, "mj_makeData", make_data);
  find(handle, path, "mj_deleteData", delete_data);
  find(handle, path, "mj_resetData", reset_data);
  find(handle, path, "mj_step", step);
  find(handle, path, "mj_forward", forward);
  find(handle, path, "mj_stateSize", state_size);
  find(handle, path, "mj_getState", get_state);
  find(handle, path, "mj_setState", set_state);
  find(handle, path, "mj_version", version);
  find(handle, path, "mju_user_error", user_error);
  find(handle, path, "mju_user_warning", user_warning);
  void* symbol = dlsym(handle, "mj_freeLastXML");
  std::memcpy(&free_last_xml, &symbol, sizeof free_last_xml);
}

struct MujocoModel {
  MujocoModel(const std::string& library_path, const std::string& model_file,
              MujocoWarnings& warnings)
      : library(library_path) {
    char error[512] = "";
    library.call(warnings, [&] {
      model = library.load_xml(model_file.c_str(), nullptr, error, sizeof error);
      // The parsed file would stay in memory for mj_saveLastXML.
      if (library.free_last_xml != nullptr) library.free_last_xml();
    });
    if (model == nullptr)
      throw std::invalid_argument("MuJoCo cannot read " + model_file + ": " + error);
    if (error[0] != '\0') warnings.add(error);  // with a model, it is a warning
  }
  ~MujocoModel() {
    try {
      MujocoWarnings unread;
      library.call(unread, [&] { library.delete_model(model); });
    } catch (const std::runtime_error&) {  // a destructor has nobody to tell
    }
  }
  MujocoModel(const MujocoModel&) = delete;
  MujocoModel& operator=(const MujocoModel&) = delete;

  MujocoLibrary library;
  void* model = nullptr;
};

namespace {

// Training and evaluation step the same model: mj_step only reads it.
std::shared_ptr<MujocoModel> shared_model(const std::string& library, const std::string& model_file,
                                          MujocoWarnings& warnings) {
  static std::map<std::pair<std::string, std::string>, std::weak_ptr<MujocoModel>> models;
  std::weak_ptr<MujocoModel>& known = models[{library, model_file}];
  std::shared_ptr<MujocoModel> model = known.lock();
  if (model == nullptr)
    known = model = std::make_shared<MujocoModel>(library, model_file, warnings);
  return model;
}

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

const char* const kReinstall =
    " Reinstall MuJoCo (`pip install --force-reinstall mujoco`), or pass `--env-process` to run "
    "the task through "
    "gymnasium.";

}  // namespace

void MujocoWarnings::add(const char* text) {
  for (int i = 0; i < count_; ++i)
    if (std::strncmp(texts_[i].data(), text, texts_[i].size() - 1) == 0) return;
  if (count_ == kKept) {
    ++dropped_;
    return;
  }
  std::snprintf(texts_[count_].data(), texts_[count_].size(), "%s", text);
  ++count_;
}

std::vector<std::string> MujocoWarnings::take() {
  std::vector<std::string> texts;
  for (int i = 0; i < count_; ++i) texts.emplace_back(texts_[i].data());
  if (dropped_ > 0) texts.push_back("and " + std::to_string(dropped_) + " more");
  count_ = 0;
  dropped_ = 0;
  return texts;
}

MujocoHost::MujocoHost(const std::string& library, const std::string& model_file,
                       const std::string& task, const std::map<std::string, int64_t>& state_bits)
    : task_(task_named(task)),
      time_bit_(state_bit(state_bits, "TIME")),
      qpos_bit_(state_bit(state_bits, "QPOS")),
      qvel_bit_(state_bit(state_bits, "QVEL")),
      ctrl_bit_(state_bit(state_bits, "CTRL")) {
  const auto header = state_bits.find("VERSION_HEADER");
  for (const auto& [name, bit] : state_bits)
    if (name != "VERSION_HEADER") all_bits_ |= state_bit(state_bits, name.c_str());
  model_ = shared_model(library, model_file, warnings_);
  const int version = model_->library.version();
  if (header == state_bits.end() || header->second != version)
    throw std::invalid_argument(
        "MuJoCo's headers are of version " +
        (header == state_bits.end() ? std::string("unknown") : std::to_string(header->second)) +
        ", its library is of version " + std::to_string(version) + "." + kReinstall);
  check_size("TIME", time_bit_, 1);
  check_size("QPOS", qpos_bit_, task_.qpos_size);
  check_size("QVEL", qvel_bit_, task_.qvel_size);
  check_size("CTRL", ctrl_bit_, task_.action_size);
  int doubles = 0;
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] {
    doubles = mujoco.state_size(model_->model, all_bits_);
    data_ = mujoco.make_data(model_->model);
  });
  if (data_ == nullptr) throw std::bad_alloc();
  qpos_.resize(task_.qpos_size);
  qvel_.resize(task_.qvel_size);
  ctrl_.resize(task_.action_size);
  initial_qpos_.resize(task_.qpos_size);
  initial_qvel_.resize(task_.qvel_size);
  observation_.resize(task_.observation_size);
  state_.resize(doubles);
  try {
    get(initial_qpos_.data(), qpos_bit_);
    get(initial_qvel_.data(), qvel_bit_);
    self_check();
  } catch (...) {
    mujoco.delete_data(data_);
    throw;
  }
}

MujocoHost::~MujocoHost() { model_->library.delete_data(data_); }

int MujocoHost::state_bit(const std::map<std::string, int64_t>& bits, const char* name) const {
  const auto found = bits.find(name);
  const int64_t bit = found == bits.end() ? 0 : found->second;
  if (bit <= 0 || bit > (INT64_C(1) << 30) || (bit & (bit - 1)) != 0)
    throw std::invalid_argument(std::string("MuJoCo's headers do not say which bit mjSTATE_") +
                                name + " is." + kReinstall);
  return static_cast<int>(bit);
}

void MujocoHost::check_size(const char* name, int bit, int expected) {
  int size = -1;
  try {
    model_->library.call(warnings_, [&] { size = model_->library.state_size(model_->model, bit); });
  } catch (const std::runtime_error& error) {
    throw std::invalid_argument(std::string("Self-check of ") + task_.name + ": " + name +
                                " cannot be read. " + error.what() + "." + kReinstall);
  }
  if (size != expected)
    throw std::invalid_argument(std::string("Self-check of ") + task_.name + ": " + name + " has " +
                                std::to_string(size) + " numbers in this MuJoCo and model, " +
                                std::to_string(expected) + " were expected." + kReinstall);
}

// Sizes can agree by accident (HalfCheetah: qpos, qvel and warmstart are 9 numbers each), so one
// step in free flight shows that positions, velocities and time are what they are called.
void MujocoHost::self_check() {
  const MujocoLibrary& mujoco = model_->library;
  const auto refuse = [&](const std::string& what) {
    throw std::invalid_argument(std::string("Self-check of ") + task_.name + ": " + what +
                                kReinstall);
  };
  Random random(20211);
  std::vector<double> written(task_.qpos_size + task_.qvel_size + task_.action_size);
  std::vector<double> read(written.size());
  for (double& value : written) value = 2.0 * random.uniform() - 1;
  const int starts[] = {0, task_.qpos_size, task_.qpos_size + task_.qvel_size};
  const int bits[] = {qpos_bit_, qvel_bit_, ctrl_bit_};
  for (int i = 0; i < 3; ++i) put(written.data() + starts[i], bits[i]);
  for (int i = 0; i < 3; ++i) get(read.data() + starts[i], bits[i]);
  if (written != read) refuse("a state that was written does not read back.");

  mujoco.call(warnings_, [&] { mujoco.reset_data(model_->model, data_); });
  qpos_ = initial_qpos_;
  qvel_ = initial_qvel_;
  qpos_[task_.height_index] += 1;
  qvel_[0] = 1;  // metres a second
  put(qpos_.data(), qpos_bit_);
  put(qvel_.data(), qvel_bit_);
  double before = -1, after = -1;
  get(&before, time_bit_);
  try {
    mujoco.call(warnings_, [&] { mujoco.step(model_->model, data_); });
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
  mujoco.call(warnings_, [&] { mujoco.reset_data(model_->model, data_); });
  set_position_velocity(initial_qpos_.data(), initial_qvel_.data());
}

void MujocoHost::put(const double* values, int bits) {
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] { mujoco.set_state(model_->model, data_, values, bits); });
}

void MujocoHost::get(double* values, int bits) {
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] { mujoco.get_state(model_->model, data_, values, bits); });
}

void MujocoHost::observe() {
  task_.observe(task_, qpos_.data(), qvel_.data(), observation_.data());
}

void MujocoHost::set_position_velocity(const double* qpos, const double* qvel) {
  std::copy(qpos, qpos + task_.qpos_size, qpos_.begin());
  std::copy(qvel, qvel + task_.qvel_size, qvel_.begin());
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] {
    mujoco.set_state(model_->model, data_, qpos_.data(), qpos_bit_);
    mujoco.set_state(model_->model, data_, qvel_.data(), qvel_bit_);
    mujoco.forward(model_->model, data_);
  });
  observe();
}

void MujocoHost::reset(uint64_t seed) {
  Random random(seed);
  const double noise = task_.reset_noise;
  for (int i = 0; i < task_.qpos_size; ++i)
    qpos_[i] = initial_qpos_[i] + noise * (2.0 * random.uniform() - 1);
  for (int i = 0; i < task_.qvel_size; ++i)
    qvel_[i] = initial_qvel_[i] + noise * (task_.normal_velocity_noise
                                               ? static_cast<double>(random.normal())
                                               : 2.0 * random.uniform() - 1);
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings_, [&] {
    mujoco.reset_data(model_->model, data_);
    mujoco.set_state(model_->model, data_, qpos_.data(), qpos_bit_);
    mujoco.set_state(model_->model, data_, qvel_.data(), qvel_bit_);
    mujoco.forward(model_->model, data_);
  });
  observe();
}

double MujocoHost::step(const float* action, bool* terminated) {
  const double x_before = qpos_[0];
  std::copy(action, action + task_.action_size, ctrl_.begin());
  const MujocoLibrary& mujoco = model_->library;
  // mj_rnePostConstraint, which gymnasium calls too, fills contact forces: none of these tasks
  // looks at them.
  mujoco.call(warnings_, [&] {
    mujoco.set_state(model_->model, data_, ctrl_.data(), ctrl_bit_);
    for (int frame = 0; frame < task_.frame_skip; ++frame) mujoco.step(model_->model, data_);
    mujoco.get_state(model_->model, data_, qpos_.data(), qpos_bit_);
    mujoco.get_state(model_->model, data_, qvel_.data(), qvel_bit_);
  });
  observe();
  const bool healthy = task_.healthy(task_, qpos_.data(), qvel_.data());
  *terminated = !healthy;
  const double x_velocity = (qpos_[0] - x_before) / (task_.timestep_seconds * task_.frame_skip);
  return task_.reward(task_, {qpos_.data(), qvel_.data(), action, x_velocity}, healthy);
}

size_t MujocoHost::state_bytes() const {
  return sizeof(StateHeader) + state_.size() * sizeof(double);
}

void MujocoHost::state(unsigned char* out) {
  get(state_.data(), all_bits_);
  const StateHeader header = {kMagic, model_->library.version(), static_cast<uint32_t>(all_bits_),
                              static_cast<uint32_t>(state_.size())};
  std::memcpy(out, &header, sizeof header);
  std::memcpy(out + sizeof header, state_.data(), state_.size() * sizeof(double));
}

void MujocoHost::set_state(const unsigned char* bytes, size_t size) {
  StateHeader header = {};
  if (size >= sizeof header) std::memcpy(&header, bytes, sizeof header);
  if (header.magic != kMagic || size != state_bytes() || header.doubles != state_.size() ||
      header.bits != static_cast<uint32_t>(all_bits_))
    throw std::invalid_argument(std::string("The saved simulation state (") + std::to_string(size) +
                                " bytes) does not belong to " + task_.name + " on this MuJoCo (" +
                                std::to_string(state_bytes()) + " bytes).");
  if (header.mujoco_version != model_->library.version())
    throw std::invalid_argument(
        "The simulation state was saved by MuJoCo " + std::to_string(header.mujoco_version) +
        " and this is MuJoCo " + std::to_string(model_->library.version()) +
        ": it would not go on the same. Install the version that saved it.");
  std::memcpy(state_.data(), bytes + sizeof header, state_.size() * sizeof(double));
  put(state_.data(), all_bits_);
  get(qpos_.data(), qpos_bit_);
  get(qvel_.data(), qvel_bit_);
  observe();
}

}  // namespace edgedst
