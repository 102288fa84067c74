// A model of a simulation's own, whose frictions, masses, ... can be multiplied: domain
// randomisation. Which array of mjModel is which is found by printing it before and after a change;
// docs/decisions/0019 weighs this against other ways.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mujoco/library.h"
#include "mujoco/search.h"

namespace edgedst {

class MujocoFactors {
 public:
  // Copies `original`. `names`: of "friction", "mass", "gain" and "damping". Throws
  // std::invalid_argument with what is wrong: a name, or a field that cannot be told.
  MujocoFactors(std::shared_ptr<MujocoModel> original, const std::vector<std::string>& names,
                MujocoWarnings& warnings);

  std::shared_ptr<MujocoModel> model() const { return model_; }
  const std::vector<std::string>& idle() const { return idle_; }  // multiply nothing but zeros
  bool of_mass() const { return of_mass_; }

  // Multiply the model's original numbers, a factor for each name. `data` is reset where it is used
  // for derived numbers. Allocates nothing.
  void apply(const double* factors, void* data, MujocoWarnings& warnings) const;

 private:
  struct Array {
    size_t factor;  // its place among the names
    size_t stride;  // every so manyth number is multiplied, from the first on
    std::vector<double> originals;
    double* numbers;  // of the model
  };
  double* find(const std::string& name, const std::vector<double>& printed,
               MujocoWarnings& warnings) const;
  std::string print(MujocoWarnings& warnings) const;

  // Kept for the next environment of the task: to compile its file a second time takes 40 MB of
  // addresses for a while, which a limit on the process counts.
  std::shared_ptr<MujocoModel> original_;
  MujocoBlocks blocks_;
  std::shared_ptr<MujocoModel> model_;
  std::vector<Array> arrays_;
  std::vector<std::string> idle_;
  bool of_mass_ = false;
};

}  // namespace edgedst
