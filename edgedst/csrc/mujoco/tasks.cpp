#include "mujoco/tasks.h"

namespace edgedst {

const MujocoTask* find_mujoco_task(const std::string& name) {
  for (const MujocoTaskTable& table : {locomotion_tasks(), control_tasks()})
    for (const MujocoTask* task = table.first; task != table.last; ++task)
      if (name == task->name) return task;
  return nullptr;
}

float action_squares(const MujocoTask& task, const float* action) {
  const int size = task.action_size;
  float sum = 0;
  int next = 0;
  if (size >= 8) {  // eight running sums, of which these actions fill one round
    float s[8];
    for (; next < 8; ++next) s[next] = action[next] * action[next];
    sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
  }
  for (; next < size; ++next) sum += action[next] * action[next];
  return sum;
}

}  // namespace edgedst
