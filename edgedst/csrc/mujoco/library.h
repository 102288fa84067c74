// An installed libmujoco: loaded at run time, called without its end-the-process error handler, its
// warnings kept.
#pragma once

#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

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

class MujocoLibrary {
 public:
  explicit MujocoLibrary(const std::string& path);

  // Run `body`, which must hold nothing that needs a destructor. Throws std::runtime_error with
  // MuJoCo's words. MuJoCo's default handlers print, write MUJOCO_LOG.TXT and end the process; ours
  // are in place only while a call of ours runs, so that MuJoCo's own Python bindings may live in
  // the same process.
  template <typename Body>
  void call(MujocoWarnings& warnings, Body body) const {
    Call frame;
    frame.warnings = &warnings;
    Call* const outer_call = current_call_;
    const Handler outer_error = *user_error_, outer_warning = *user_warning_;
    current_call_ = &frame;
    *user_error_ = on_error;
    *user_warning_ = on_warning;
    // Between setjmp and longjmp nothing local changes but `frame`, which lies in memory since its
    // address is known outside: nothing here needs to be volatile.
    const bool failed = setjmp(frame.back) != 0;
    if (!failed) body();
    *user_error_ = outer_error;
    *user_warning_ = outer_warning;
    current_call_ = outer_call;
    if (failed) throw std::runtime_error(std::string("MuJoCo reported an error: ") + frame.error);
  }

  // Calls one of MuJoCo's functions that free; what it reports then has nobody to be told to.
  void dispose(void (*free)(void*), void* object) const;

  // mjModel, mjData and mjVFS are opaque here, so void* will do; mjtNum is double in every wheel.
  void* (*load_xml)(const char*, const void*, char*, int);
  void* (*copy_model)(void*, const void*);
  void (*delete_model)(void*);
  void* (*make_data)(const void*);
  void (*delete_data)(void*);
  void (*reset_data)(const void*, void*);
  void (*step)(const void*, void*);
  void (*forward)(const void*, void*);
  void (*rne_post_constraint)(const void*, void*);
  int (*state_size)(const void*, unsigned);
  void (*get_state)(const void*, const void*, double*, unsigned);
  void (*set_state)(const void*, void*, const double*, unsigned);
  void (*print_formatted_data)(const void*, void*, const char*, const char*);
  void (*print_formatted_model)(const void*, const char*, const char*);
  void (*set_const)(void*, void*);
  int (*version)();
  void (*free_last_xml)();        // may be missing
  void* (**user_malloc)(size_t);  // a variable of MuJoCo's: its allocator, where not null

 private:
  using Handler = void (*)(const char*);
  struct Call {
    std::jmp_buf back;
    char error[512];
    MujocoWarnings* warnings;
  };
  static void on_error(const char* text);
  static void on_warning(const char* text);

  static thread_local Call* current_call_;
  Handler* user_error_;
  Handler* user_warning_;
};

// A compiled model and its library.
class MujocoModel {
 public:
  MujocoModel(const std::string& library_path, const std::string& model_file,
              MujocoWarnings& warnings);
  // Takes over a model that the library has made.
  MujocoModel(const MujocoLibrary& library, void* model) : library(library), model(model) {}
  ~MujocoModel();
  MujocoModel(const MujocoModel&) = delete;
  MujocoModel& operator=(const MujocoModel&) = delete;

  // Training and evaluation step the same model: mj_step only reads it.
  static std::shared_ptr<MujocoModel> shared(const std::string& library,
                                             const std::string& model_file,
                                             MujocoWarnings& warnings);

  MujocoLibrary library;
  void* model = nullptr;
};

}  // namespace edgedst
