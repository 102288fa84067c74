#include "mujoco/data.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace edgedst {

MujocoData::MujocoData(std::shared_ptr<MujocoModel> model, MujocoWarnings& warnings)
    : model_(std::move(model)) {
  const MujocoLibrary& mujoco = model_->library;
  data_ = blocks_.note(mujoco, warnings, [&] { return mujoco.make_data(model_->model); });
}

MujocoData::~MujocoData() { model_->library.dispose(model_->library.delete_data, data_); }

MujocoData::Field MujocoData::field(const std::string& name, int size) const {
  const std::vector<double*> arrays = blocks_.arrays(data_, size);
  return {name, size, {arrays.begin(), arrays.end()}};
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
  const MujocoLibrary& mujoco = model_->library;
  const MemoryFile file;
  mujoco.call(warnings,
              [&] { mujoco.print_formatted_data(model_->model, data_, file.path(), kAllDigits); });
  return file.text();
}

}  // namespace edgedst
