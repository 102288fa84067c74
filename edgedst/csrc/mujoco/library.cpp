#include "mujoco/library.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

namespace edgedst {
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

thread_local MujocoLibrary::Call* MujocoLibrary::current_call_ = nullptr;

void MujocoLibrary::on_warning(const char* text) {
  if (current_call_ != nullptr) current_call_->warnings->add(text);
}

// Returning would end the process. MuJoCo's frames below are C; whatever they held on their stacks
// is lost.
void MujocoLibrary::on_error(const char* text) {
  std::snprintf(current_call_->error, sizeof current_call_->error, "%s", text);
  std::longjmp(current_call_->back, 1);
}

MujocoLibrary::MujocoLibrary(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays loaded
  if (handle == nullptr) {
    const char* why = dlerror();
    throw MujocoLibraryError("MuJoCo's library cannot be loaded: " +
                             std::string(why != nullptr ? why : path.c_str()));
  }
  find(handle, path, "mj_loadXML", load_xml);
  find(handle, path, "mj_copyModel", copy_model);
  find(handle, path, "mj_deleteModel", delete_model);
  find(handle, path, "mj_makeData", make_data);
  find(handle, path, "mj_deleteData", delete_data);
  find(handle, path, "mj_resetData", reset_data);
  find(handle, path, "mj_step", step);
  find(handle, path, "mj_forward", forward);
  find(handle, path, "mj_rnePostConstraint", rne_post_constraint);
  find(handle, path, "mj_stateSize", state_size);
  find(handle, path, "mj_getState", get_state);
  find(handle, path, "mj_setState", set_state);
  find(handle, path, "mj_printFormattedData", print_formatted_data);
  find(handle, path, "mj_printFormattedModel", print_formatted_model);
  find(handle, path, "mj_setConst", set_const);
  find(handle, path, "mj_version", version);
  find(handle, path, "mju_user_error", user_error_);
  find(handle, path, "mju_user_warning", user_warning_);
  find(handle, path, "mju_user_malloc", user_malloc);
  void* symbol = dlsym(handle, "mj_freeLastXML");
  std::memcpy(&free_last_xml, &symbol, sizeof free_last_xml);
}

void MujocoLibrary::dispose(void (*free)(void*), void* object) const {
  try {
    MujocoWarnings unread;
    call(unread, [&] { free(object); });
  } catch (const std::runtime_error&) {  // a destructor has nobody to tell
  }
}

MujocoModel::MujocoModel(const std::string& library_path, const std::string& model_file,
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

MujocoModel::~MujocoModel() { library.dispose(library.delete_model, model); }

std::shared_ptr<MujocoModel> MujocoModel::shared(const std::string& library,
                                                 const std::string& model_file,
                                                 MujocoWarnings& warnings) {
  static std::map<std::pair<std::string, std::string>, std::weak_ptr<MujocoModel>> models;
  std::weak_ptr<MujocoModel>& known = models[{library, model_file}];
  std::shared_ptr<MujocoModel> model = known.lock();
  if (model == nullptr)
    known = model = std::make_shared<MujocoModel>(library, model_file, warnings);
  return model;
}

}  // namespace edgedst
