// Runs an exported .onnx actor through onnxruntime's C library: repeats its golden pairs, then
// times a step.
//
//     make run_onnx ORT=/opt/onnxruntime-linux-x64-1.20.0
//     ./run_onnx actor.onnx golden.csv
//     ./run_onnx actor.onnx golden.csv - < observations.csv > actions.csv
//
// It goes on only when every golden action comes out within 1e-5 of the action's larger bound, one
// observation at a time and all at once, and refuses observations that are not finite. ONNX.md is
// the contract of the file. Of an actor with a history all rows are one episode; a line `reset`
// begins another one.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr double kTolerance = 1e-5;
constexpr int kSteps = 1000;
constexpr int kWarmUpSteps = 100;  // the first runs allocate
constexpr uint32_t kApiVersion =
    16;  // all that is called here exists since then: an older runtime than the header does

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

const OrtApi* ort = nullptr;

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = ort->GetErrorMessage(status);
  ort->ReleaseStatus(status);
  throw Failure("onnxruntime " + std::string(OrtGetApiBase()->GetVersionString()) + ": " + message);
}

// A file made by `edgedst export`, on one CPU thread.
class Actor {
 public:
  explicit Actor(const std::string& path) {
    OrtEnv* env = nullptr;
    check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "run_onnx", &env));
    env_.reset(env);
    OrtSessionOptions* options = nullptr;
    check(ort->CreateSessionOptions(&options));
    const std::unique_ptr<OrtSessionOptions, void (*)(OrtSessionOptions*)> owned(
        options, ort->ReleaseSessionOptions);
    check(ort->SetIntraOpNumThreads(options, 1));
    check(ort->SetInterOpNumThreads(options, 1));
    OrtSession* session = nullptr;
    check(ort->CreateSession(env, path.c_str(), options, &session));
    session_.reset(session);
    OrtMemoryInfo* memory = nullptr;
    check(ort->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
    memory_.reset(memory);
    about_ = metadata();
    if (numbers("format").at(0) != 1)
      throw Failure("`" + path + "` has a format that this runner does not read; it reads 1.");
    observation_size = static_cast<size_t>(numbers("observation_size").at(0));
    action_size = static_cast<size_t>(numbers("action_size").at(0));
    const std::vector<double> low = numbers("action_low"), high = numbers("action_high");
    if (low.size() != action_size || high.size() != action_size)
      throw Failure("`" + path + "` has other bounds than its " + std::to_string(action_size) +
                    " actions need.");
    if (about_.find("\"history\":") != std::string::npos) {
      history = static_cast<size_t>(numbers("history").at(0));
      for (const double number : numbers("start_action"))
        start_action.push_back(static_cast<float>(number));
      if (start_action.size() != action_size)
        throw Failure("`" + path + "` has another start action than its actions need.");
    }
    for (size_t i = 0; i < action_size; i++) {
      const double bound = std::max(std::fabs(low[i]), std::fabs(high[i]));
      magnitude.push_back(bound > 0.0 ? bound : 1.0);
    }
  }

  // (rows, features()) to (rows, action_size), in the environment's units.
  std::vector<float> act(std::vector<float> observations) const {
    const int64_t rows = static_cast<int64_t>(observations.size() / features());
    const int64_t shape[] = {rows, static_cast<int64_t>(features())};
    OrtValue* input = nullptr;
    check(ort->CreateTensorWithDataAsOrtValue(memory_.get(), observations.data(),
                                              observations.size() * sizeof(float), shape, 2,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
    const std::unique_ptr<OrtValue, void (*)(OrtValue*)> owned_input(input, ort->ReleaseValue);
    const char* input_names[] = {"obs"};
    const char* output_names[] = {"actions"};
    const OrtValue* inputs[] = {input};
    OrtValue* output = nullptr;
    check(ort->Run(session_.get(), nullptr, input_names, inputs, 1, output_names, 1, &output));
    const std::unique_ptr<OrtValue, void (*)(OrtValue*)> owned_output(output, ort->ReleaseValue);
    float* actions = nullptr;
    check(ort->GetTensorMutableData(output, reinterpret_cast<void**>(&actions)));
    return {actions, actions + static_cast<size_t>(rows) * action_size};
  }

  const std::string& about() const { return about_; }

  // What it takes at a step.
  size_t features() const {
    return history > 0 ? history * (observation_size + action_size) : observation_size;
  }

  size_t observation_size = 0, action_size = 0, history = 0;
  std::vector<float> start_action;
  std::vector<double> magnitude;  // of each action: its larger bound

 private:
  // The JSON that the file says of itself.
  std::string metadata() const {
    OrtModelMetadata* metadata = nullptr;
    check(ort->SessionGetModelMetadata(session_.get(), &metadata));
    const std::unique_ptr<OrtModelMetadata, void (*)(OrtModelMetadata*)> owned(
        metadata, ort->ReleaseModelMetadata);
    OrtAllocator* allocator = nullptr;
    check(ort->GetAllocatorWithDefaultOptions(&allocator));
    char* text = nullptr;
    check(ort->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "edgedst", &text));
    if (text == nullptr)
      throw Failure(
          "the model has no metadata key `edgedst`; expected a file made by `edgedst export`.");
    const std::string about = text;
    check(ort->AllocatorFree(allocator, text));
    return about;
  }

  // The number or the list of numbers of a key; JSON as `edgedst export` writes it.
  std::vector<double> numbers(const std::string& key) const {
    const size_t found = about_.find("\"" + key + "\":");
    if (found == std::string::npos) throw Failure("the model's metadata has no key `" + key + "`.");
    std::vector<double> list;
    const char* at = about_.c_str() + found + key.size() + 3;
    for (;;) {
      at += std::strspn(at, " [,");
      char* end = nullptr;
      const double number = std::strtod(at, &end);
      if (end == at) break;
      list.push_back(number);
      at = end;
      if (*at != ',') break;
    }
    if (list.empty()) throw Failure("the model's metadata has no number at `" + key + "`.");
    return list;
  }

  std::unique_ptr<OrtEnv, void (*)(OrtEnv*)> env_{nullptr, ort->ReleaseEnv};
  std::unique_ptr<OrtSession, void (*)(OrtSession*)> session_{nullptr, ort->ReleaseSession};
  std::unique_ptr<OrtMemoryInfo, void (*)(OrtMemoryInfo*)> memory_{nullptr, ort->ReleaseMemoryInfo};
  std::string about_;
};

// The last observations, then the last actions, each newest first; before an episode there were its
// first observation, again and again, and the start action. Without a history the observation
// alone.
class History {
 public:
  explicit History(const Actor& actor) : actor_(actor) {}

  // The next observation is an episode's first.
  void reset() { features_.clear(); }

  // What the actor takes with this observation.
  const std::vector<float>& push(const std::vector<float>& observation) {
    const size_t past = std::max<size_t>(actor_.history, 1) * actor_.observation_size;
    if (features_.empty()) {
      while (features_.size() < past)
        features_.insert(features_.end(), observation.begin(), observation.end());
      for (size_t step = 0; step < actor_.history; step++)
        features_.insert(features_.end(), actor_.start_action.begin(), actor_.start_action.end());
    }
    put(0, past, observation);
    return features_;
  }

  void acted(const std::vector<float>& action) {
    if (actor_.history > 0)
      put(actor_.history * actor_.observation_size, actor_.history * actor_.action_size, action);
  }

 private:
  // In front of the `size` numbers from `first` on; the last ones go.
  void put(size_t first, size_t size, const std::vector<float>& newest) {
    const auto begin = features_.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = begin + static_cast<std::ptrdiff_t>(size);
    std::copy_backward(begin, end - static_cast<std::ptrdiff_t>(newest.size()), end);
    std::copy(newest.begin(), newest.end(), begin);
  }

  const Actor& actor_;
  std::vector<float> features_;
};

// The numbers of a line, separated by commas or spaces; a Failure for anything else, NaN and
// infinity too.
std::vector<float> row_of(const std::string& line, size_t size, const std::string& where) {
  std::vector<float> row;
  const char* at = line.c_str() + std::strspn(line.c_str(), ", \t\r");
  while (*at != '\0') {
    char* end = nullptr;
    const float number = std::strtof(at, &end);
    if (end == at || !std::isfinite(number))
      throw Failure(where + ": number " + std::to_string(row.size() + 1) +
                    " is not a finite number.");
    row.push_back(number);
    at = end + std::strspn(end, ", \t\r");
  }
  if (row.size() != size)
    throw Failure(where + " has " + std::to_string(row.size()) + " numbers; expected " +
                  std::to_string(size) + ".");
  return row;
}

struct Pairs {
  std::vector<float> observations, actions;
  size_t count = 0;
};

Pairs read_golden(const std::string& path, const Actor& actor) {
  std::ifstream file(path);
  if (!file)
    throw Failure("`" + path + "` cannot be read. Make it with `edgedst export --golden`.");
  Pairs pairs;
  std::string line;
  for (size_t number = 1; std::getline(file, line); number++) {
    if (line.compare(0, 2, "//") == 0) continue;
    const std::vector<float> row = row_of(line, actor.observation_size + actor.action_size,
                                          "`" + path + "`, line " + std::to_string(number));
    const auto middle = row.begin() + static_cast<std::ptrdiff_t>(actor.observation_size);
    pairs.observations.insert(pairs.observations.end(), row.begin(), middle);
    pairs.actions.insert(pairs.actions.end(), middle, row.end());
    pairs.count++;
  }
  if (pairs.count == 0) throw Failure("`" + path + "` has no pairs.");
  return pairs;
}

std::vector<float> observation_of(const Pairs& pairs, size_t pair, const Actor& actor) {
  const auto first =
      pairs.observations.begin() + static_cast<std::ptrdiff_t>(pair * actor.observation_size);
  return {first, first + static_cast<std::ptrdiff_t>(actor.observation_size)};
}

void check_golden(const Actor& actor, const Pairs& pairs, const std::string& path) {
  std::vector<float> one_by_one, taken;
  History history(actor);
  for (size_t pair = 0; pair < pairs.count; pair++) {
    if (pair % std::max<size_t>(2 * actor.history, 1) == 0) history.reset();
    const std::vector<float> features = history.push(observation_of(pairs, pair, actor));
    const std::vector<float> action = actor.act(features);
    history.acted(action);
    taken.insert(taken.end(), features.begin(), features.end());
    one_by_one.insert(one_by_one.end(), action.begin(), action.end());
  }
  double largest = 0.0;
  for (const std::vector<float>& actions : {one_by_one, actor.act(taken)}) {
    for (size_t i = 0; i < actions.size(); i++) {
      const double share = std::fabs(static_cast<double>(actions[i]) - pairs.actions[i]) /
                           actor.magnitude[i % actor.action_size];
      if (!(share <= largest))
        largest = std::isnan(share) ? std::numeric_limits<double>::infinity() : share;
    }
  }
  char text[160];
  if (!(largest <= kTolerance)) {
    std::snprintf(text, sizeof text,
                  "an action differs by %.1e, limit %.0e; wrong file or runtime? Nothing was run.",
                  largest, kTolerance);
    throw Failure("`" + path + "`: " + text);
  }
  std::snprintf(text, sizeof text, "golden pairs  %zu equal, largest difference %.1e (limit %.0e)",
                pairs.count, largest, kTolerance);
  std::cerr << text << std::endl;
}

// Observations from standard input, actions to standard output, until the input ends.
void act_on_input(const Actor& actor) {
  std::string line;
  History history(actor);
  for (size_t row = 1; std::getline(std::cin, line); row++) {
    if (line == "reset") {
      history.reset();
      continue;
    }
    const std::vector<float> action =
        actor.act(history.push(row_of(line, actor.observation_size, "row " + std::to_string(row))));
    history.acted(action);
    for (const float value : action)
      if (!std::isfinite(value))
        throw Failure("row " + std::to_string(row) +
                      ": an action is not finite, for the observation is far outside of what the "
                      "actor was trained with.");
    std::ostringstream text;
    text.precision(std::numeric_limits<float>::max_digits10);
    for (size_t i = 0; i < action.size(); i++) text << (i == 0 ? "" : ",") << action[i];
    std::cout << text.str() << std::endl;
  }
}

// Observation in, action out, one step at a time.
void print_times(const Actor& actor, const Pairs& pairs) {
  std::vector<double> microseconds;
  History history(actor);
  for (int step = -kWarmUpSteps; step < kSteps; step++) {
    const std::vector<float> observation =
        observation_of(pairs, static_cast<size_t>(step + kWarmUpSteps) % pairs.count, actor);
    const auto before = std::chrono::steady_clock::now();
    history.acted(actor.act(history.push(observation)));
    const std::chrono::duration<double, std::micro> taken =
        std::chrono::steady_clock::now() - before;
    if (step >= 0) microseconds.push_back(taken.count());
  }
  std::sort(microseconds.begin(), microseconds.end());
  std::printf("step          p50 %.1f, p99 %.1f, max %.1f microseconds (%d steps, batch 1)\n",
              microseconds[kSteps / 2], microseconds[kSteps / 100 * 99], microseconds.back(),
              kSteps);
}

}  // namespace

int main(int count, char** arguments) {
  const bool from_input = count == 4 && std::strcmp(arguments[3], "-") == 0;
  if (count != 3 && !from_input) {
    std::cerr << "usage: " << arguments[0]
              << " actor.onnx golden.csv       check the golden pairs and time a step\n"
              << "       " << arguments[0]
              << " actor.onnx golden.csv -     observations from standard input, "
              << "actions to standard output\n";
    return 2;
  }
  try {
    ort = OrtGetApiBase()->GetApi(kApiVersion);
    if (ort == nullptr)
      throw Failure("onnxruntime " + std::string(OrtGetApiBase()->GetVersionString()) +
                    " is too old; use 1.20 or newer.");
    const Actor actor(arguments[1]);
    const Pairs pairs = read_golden(arguments[2], actor);
    check_golden(actor, pairs, arguments[2]);
    if (from_input) {
      act_on_input(actor);
      return 0;
    }
    std::cout << "actor         " << actor.about() << std::endl;
    print_times(actor, pairs);
  } catch (const std::exception& error) {
    std::cerr << "run_onnx: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
