#include "mujoco/data.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace edgedst {
namespace {

// The numbers under the line `name` of MuJoCo's printout.
std::vector<double> numbers_under(const std::string& text, const std::string& name) {
  std::vector<double> numbers;
  const size_t line = text.find("\n" + name + "\n");
  if (line == std::string::npos) return numbers;
  const char* at = text.c_str() + line + name.size() + 2;
  for (;;) {
    char* end = nullptr;
    const double number = std::strtod(at, &end);
    if (end == at) return numbers;
    numbers.push_back(number);
    at = end;
  }
}

}  // namespace

thread_local MujocoData::Blocks* MujocoData::noting_ = nullptr;

// MuJoCo's own allocation (it frees with free()), noted. Called from C: it must not throw.
void* MujocoData::note_block(size_t bytes) {
  constexpr size_t kAlignment = 64;
  void* block = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (block != nullptr && noting_ != nullptr && noting_->count < noting_->at.size())
    noting_->at[noting_->count++] = {static_cast<char*>(block), bytes};
  return block;
}

MujocoData::MujocoData(std::shared_ptr<MujocoModel> model, MujocoWarnings& warnings)
    : model_(std::move(model)) {
  const MujocoLibrary& mujoco = model_->library;
  const auto outer_malloc = *mujoco.user_malloc;
  if (outer_malloc == nullptr) *mujoco.user_malloc = note_block;  // else: nothing is noted
  noting_ = &blocks_;
  const auto restore = [&] {
    noting_ = nullptr;
    *mujoco.user_malloc = outer_malloc;
  };
  try {
    mujoco.call(warnings, [&] { data_ = mujoco.make_data(model_->model); });
  } catch (...) {
    restore();
    throw;
  }
  restore();
  if (data_ == nullptr) throw std::bad_alloc();
}

MujocoData::~MujocoData() { model_->library.dispose(model_->library.delete_data, data_); }

// Only words of mjData that point into a block of its own, with room for the whole field, are ever
// followed.
MujocoData::Field MujocoData::field(const std::string& name, int size) const {
  Field field = {name, size, {}};
  size_t words = 0;
  for (size_t i = 0; i < blocks_.count; ++i)
    if (blocks_.at[i].address == data_) words = blocks_.at[i].bytes / sizeof(void*);
  const size_t field_bytes = size * sizeof(double);
  for (size_t word = 0; word < words; ++word) {
    uintptr_t value;
    std::memcpy(&value, static_cast<const char*>(data_) + word * sizeof value, sizeof value);
    for (size_t i = 0; i < blocks_.count; ++i) {
      const Block& block = blocks_.at[i];
      const uintptr_t start = reinterpret_cast<uintptr_t>(block.address);
      if (block.address == data_ || value % alignof(double) != 0 || value < start ||
          value - start > block.bytes || block.bytes - (value - start) < field_bytes)
        continue;
      const double* candidate = reinterpret_cast<const double*>(value);
      if (std::find(field.candidates.begin(), field.candidates.end(), candidate) ==
          field.candidates.end())
        field.candidates.push_back(candidate);
    }
  }
  return field;
}

void MujocoData::narrow(std::vector<Field>& fields, MujocoWarnings& warnings) const {
  const std::string text = print(warnings);
  for (Field& field : fields) {
    const std::vector<double> numbers = numbers_under(text, field.name);
    if (numbers.size() != static_cast<size_t>(field.size))
      throw std::invalid_argument("MuJoCo prints " + std::to_string(numbers.size()) +
                                  " numbers of " + field.name + ", " + std::to_string(field.size) +
                                  " were expected.");
    if (std::all_of(numbers.begin(), numbers.end(), [](double number) { return number == 0; }))
      throw std::invalid_argument("MuJoCo prints only zeros of " + field.name +
                                  " in a state in which it moves.");
    const auto differs = [&](const double* candidate) {
      return !std::equal(numbers.begin(), numbers.end(), candidate);
    };
    field.candidates.erase(
        std::remove_if(field.candidates.begin(), field.candidates.end(), differs),
        field.candidates.end());
    if (field.candidates.empty())
      throw std::invalid_argument("no field of mjData holds what MuJoCo prints of " + field.name +
                                  ".");
  }
}

std::string MujocoData::print(MujocoWarnings& warnings) const {
  const int file = memfd_create("edgedst", MFD_CLOEXEC);
  if (file < 0) throw std::runtime_error("no memory for a file that MuJoCo prints its data to");
  const MujocoLibrary& mujoco = model_->library;
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  std::string text;
  try {
    mujoco.call(warnings,
                [&] { mujoco.print_formatted_data(model_->model, data_, path.c_str(), "%.17g"); });
    char chunk[4096];
    ssize_t bytes;
    while ((bytes = pread(file, chunk, sizeof chunk, static_cast<off_t>(text.size()))) > 0)
      text.append(chunk, static_cast<size_t>(bytes));
  } catch (...) {
    close(file);
    throw;
  }
  close(file);
  // It warns where it cannot open the file, and goes on.
  if (text.empty()) throw std::runtime_error("MuJoCo printed nothing into " + path);
  return text;
}

}  // namespace edgedst
