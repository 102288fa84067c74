// What a mini-batch shows of an episode: its own history and no other one's, whatever the ring has
// forgotten and whichever rows stay.
#include "rl/replay.h"

#include <algorithm>
#include <string>
#include <vector>

#include "check.h"

using namespace edgedst;

namespace {

constexpr int kColumns = 50;

// An observation is (episode, step), an action and a reward the step that it belongs to, from 1 on.
void play(Replay& replay, int episode, int steps) {
  const double first[] = {static_cast<double>(episode), 0};
  replay.begin_episode(first);
  for (int step = 1; step <= steps; ++step) {
    const double next[] = {static_cast<double>(episode), static_cast<double>(step)};
    const float action[] = {static_cast<float>(step)};
    replay.add(action, static_cast<float>(step), next, false, step == steps);
  }
}

void check_sample(const Replay& replay, int history, Random& random, int demonstrations,
                  int pinned_episodes, const char* where) {
  const int size = History::input_size(2, 1, history), frames = std::max(1, history);
  Arena arena(1 << 20, false);
  const Batch x = take_batch(arena, "x", size + 1, kColumns);
  const Batch next = take_batch(arena, "next", size + 1, kColumns);
  const Batch reward = take_batch(arena, "reward", 1, kColumns);
  const Batch terminated = take_batch(arena, "terminated", 1, kColumns);
  replay.sample(random, x, next, reward, terminated, nullptr, demonstrations);
  for (int c = 0; c < kColumns; ++c) {
    const int step = static_cast<int>(reward.data[c]) - 1;  // that the action was taken at
    const float episode = x.row(0)[c];
    for (const Batch* seen : {&x, &next}) {
      const int at = seen == &x ? step : step + 1;
      for (int k = 0; k < frames; ++k) {
        expect(seen->row(2 * k)[c] == episode, "%s: frame %d is of another episode", where, k);
        const float expected = static_cast<float>(std::max(0, at - k));
        expect(seen->row(2 * k + 1)[c] == expected, "%s: frame %d of step %d is %g", where, k, at,
               static_cast<double>(seen->row(2 * k + 1)[c]));
      }
      for (int k = 1; k <= history; ++k) {
        const float expected = static_cast<float>(std::max(0, at - k + 1));
        expect(seen->row(2 * frames + k - 1)[c] == expected, "%s: action %d of step %d is %g",
               where, k, at, static_cast<double>(seen->row(2 * frames + k - 1)[c]));
      }
    }
    expect(x.row(size)[c] == static_cast<float>(step + 1), "%s: another action", where);
    if (c < demonstrations)
      expect(episode < static_cast<float>(pinned_episodes), "%s: no demonstration", where);
    else if (demonstrations > 0)
      expect(episode >= static_cast<float>(pinned_episodes), "%s: a demonstration", where);
  }
}

void test_histories_are_of_one_episode() {
  for (const char* dtype : {"float16", "float32"})
    for (int history = 0; history <= 5; ++history)
      for (int capacity : {12, 17, 64}) {
        Arena arena(1 << 20, false);
        Replay replay(arena, "replay", capacity, 2, 1, dtype, {}, history);
        Random random(static_cast<uint64_t>(history * 100 + capacity));
        const std::string where = std::string(dtype) + ", history " + std::to_string(history) +
                                  ", " + std::to_string(capacity) + " rows";
        for (int episode = 0; episode < 30; ++episode) {
          play(replay, episode, 1 + static_cast<int>(random.below(9)));
          check_sample(replay, history, random, 0, 0, where.c_str());
        }
      }
}

void test_pinned_rows_stay() {
  for (int history = 0; history <= 3; ++history) {
    Arena arena(1 << 20, false);
    Replay replay(arena, "replay", 40, 2, 1, "float16", {}, history);
    Random random(7);
    play(replay, 0, 5);
    play(replay, 1, 4);
    replay.pin();
    expect(replay.pinned() == 11 && replay.demonstrations() == 9, "two episodes are pinned");
    for (int episode = 2; episode < 40; ++episode) {
      play(replay, episode, 1 + static_cast<int>(random.below(9)));
      check_sample(replay, history, random, 20, 2, "pinned");
    }
    expect(replay.demonstrations() == 9, "they are there to the end");
  }
}

}  // namespace

int main() {
  test_histories_are_of_one_episode();
  test_pinned_rows_stay();
  return report();
}
