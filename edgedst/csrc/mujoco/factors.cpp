#include "mujoco/factors.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace edgedst {
namespace {

struct Field {
  const char* factor;
  const char* name;   // in mjModel, as MuJoCo prints it
  size_t stride = 1;  // of the numbers that are multiplied
};

// A motor's force is gain * control; a servo's has a bias beside it, which Gymnasium's models leave
// at 0. Friction is sliding, spinning and rolling friction of each geom: only sliding changes.
constexpr Field kFields[] = {
    {"friction", "geom_friction", 3}, {"mass", "body_mass"},        {"mass", "body_inertia"},
    {"gain", "actuator_gainprm"},     {"gain", "actuator_biasprm"}, {"damping", "dof_damping"},
};

bool all_zero(const std::vector<double>& numbers) {
  return std::all_of(numbers.begin(), numbers.end(), [](double number) { return number == 0; });
}

}  // namespace

MujocoFactors::MujocoFactors(std::shared_ptr<MujocoModel> original,
                             const std::vector<std::string>& names, MujocoWarnings& warnings)
    : original_(std::move(original)) {
  const MujocoLibrary& mujoco = original_->library;
  void* const copy =
      blocks_.note(mujoco, warnings, [&] { return mujoco.copy_model(nullptr, original_->model); });
  model_ = std::make_shared<MujocoModel>(mujoco, copy);
  const std::string text = print(warnings);
  for (size_t factor = 0; factor < names.size(); ++factor) {
    bool known = false, idle = true;
    for (const Field& field : kFields) {
      if (names[factor] != field.factor) continue;
      known = true;
      std::vector<double> printed = numbers_beside(text, field.name);
      if (printed.empty())
        throw std::invalid_argument(std::string("MuJoCo prints nothing of ") + field.name + ".");
      if (all_zero(printed)) continue;  // whatever it is multiplied by
      double* const numbers = find(field.name, printed, warnings);
      arrays_.push_back({factor, field.stride, std::move(printed), numbers});
      idle = false;
    }
    if (!known) throw std::invalid_argument("`" + names[factor] + "` is no factor.");
    if (idle) idle_.push_back(names[factor]);
    of_mass_ = of_mass_ || names[factor] == "mass";
  }
}

// Several arrays may hold the printed numbers; into the right one another number can be written,
// and MuJoCo prints it. Numbers in those arrays are no indices (none of the printed ones is, to the
// last bit, and one that is not 0), so what is printed meanwhile follows none.
double* MujocoFactors::find(const std::string& name, const std::vector<double>& printed,
                            MujocoWarnings& warnings) const {
  std::vector<double> changed = printed;
  for (double& number : changed) number *= 1.5;
  std::vector<double*> found;
  for (double* const array : blocks_.arrays(model_->model, printed.size())) {
    if (!std::equal(printed.begin(), printed.end(), array)) continue;
    std::copy(changed.begin(), changed.end(), array);
    const bool shown = numbers_beside(print(warnings), name) == changed;
    std::copy(printed.begin(), printed.end(), array);
    if (shown) found.push_back(array);
  }
  if (found.size() != 1)
    throw std::invalid_argument(std::to_string(found.size()) +
                                " fields of mjModel are what MuJoCo prints of " + name + ".");
  return found[0];
}

std::string MujocoFactors::print(MujocoWarnings& warnings) const {
  const MujocoLibrary& mujoco = model_->library;
  const MemoryFile file;
  mujoco.call(warnings,
              [&] { mujoco.print_formatted_model(model_->model, file.path(), kAllDigits); });
  return file.text();
}

void MujocoFactors::apply(const double* factors, void* data, MujocoWarnings& warnings) const {
  for (const Array& array : arrays_)
    for (size_t i = 0; i < array.originals.size(); i += array.stride)
      array.numbers[i] = array.originals[i] * factors[array.factor];
  if (!of_mass_) return;
  // Subtrees' masses, inverse weights, the mean inertia: from a state of its own.
  const MujocoLibrary& mujoco = model_->library;
  mujoco.call(warnings, [&] {
    mujoco.set_const(model_->model, data);
    mujoco.reset_data(model_->model, data);
  });
}

}  // namespace edgedst
