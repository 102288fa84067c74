/* Runs an actor exported as C where it will act: repeats its golden pairs, then times a step.
 *
 *     edgedst export actor.c --golden golden.csv          where you trained
 *     make run_c ACTOR=actor.c GOLDEN=golden.csv
 *     ./run_c
 *     ./run_c - < observations.csv > actions.csv          a row an observation
 *
 * Of an actor with a history all rows are one episode; a line `reset` begins another one.
 * It goes on only when every golden action comes out within 1e-5 of the action's larger bound, and
 * refuses observations and actions that are not finite. The pairs are compiled in, so that it also
 * runs where there are no files; without a POSIX clock no step is timed. */
#define _POSIX_C_SOURCE 199309L
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include EDGEDST_ACTOR /* "actor.h": the Makefile says which */

#define OBSERVATIONS EDGEDST_OBSERVATION_SIZE
#define ACTIONS EDGEDST_ACTION_SIZE
#define PAIR (OBSERVATIONS + ACTIONS)
#define TOLERANCE 1e-5
#define STEPS 10000
#ifdef EDGEDST_HISTORY
#define EPISODE (2 * EDGEDST_HISTORY) /* pairs from a reset to the next */
#endif

static const float golden[] = {
#include EDGEDST_GOLDEN
};
static const size_t pairs = sizeof golden / sizeof golden[0] / PAIR;

static int first_not_finite(const float* observation) {
  for (int i = 0; i < OBSERVATIONS; i++)
    if (!isfinite(observation[i])) return i;
  return -1;
}

/* Before golden pair `pair`. */
static void begin_pair(size_t pair) {
#ifdef EDGEDST_HISTORY
  if (pair % EPISODE == 0) edgedst_reset();
#else
  (void)pair;
#endif
}

/* The largest difference of any action, as a share of its larger bound; of a NaN it is infinite. */
static double difference(const float* action, const float* expected) {
  double largest = 0.0;
  for (int i = 0; i < ACTIONS; i++) {
    double bound = fmax(fabs(edgedst_action_low[i]), fabs(edgedst_action_high[i]));
    double share = fabs((double)action[i] - expected[i]) / (bound > 0.0 ? bound : 1.0);
    if (!(share <= largest)) largest = isnan(share) ? HUGE_VAL : share;
  }
  return largest;
}

static int check_golden(void) {
  double largest = 0.0;
  if (sizeof golden / sizeof golden[0] != pairs * PAIR) {
    fprintf(stderr,
            "run_c: the golden pairs have another size than %d observations and %d actions; "
            "they belong to another actor.\n",
            OBSERVATIONS, ACTIONS);
    return 1;
  }
  for (size_t pair = 0; pair < pairs; pair++) {
    const float* observation = golden + pair * PAIR;
    float action[ACTIONS];
    int spoiled = first_not_finite(observation);
    if (spoiled >= 0) {
      fprintf(stderr,
              "run_c: observation %d of golden pair %lu is not a finite number; export the pairs "
              "again.\n",
              spoiled, (unsigned long)pair + 1);
      return 1;
    }
    begin_pair(pair);
    edgedst_act(observation, action);
    largest = fmax(largest, difference(action, observation + OBSERVATIONS));
  }
  if (!(largest <= TOLERANCE)) {
    fprintf(stderr,
            "run_c: an action differs from its golden pair by %.1e, limit %.0e; the pairs belong "
            "to another "
            "actor, or this compiler computes otherwise. Nothing was run.\n",
            largest, TOLERANCE);
    return 1;
  }
  fprintf(stderr, "golden pairs  %lu equal, largest difference %.1e (limit %.0e)\n",
          (unsigned long)pairs, largest, TOLERANCE);
  return 0;
}

#ifdef EDGEDST_HISTORY
/* Whether the word `reset` comes next, on a line of its own before an episode; it is taken. */
static int reset_comes(void) {
  char word[6] = "";
  int next;
  if (scanf(" ") == EOF) return 0;
  next = getchar();
  ungetc(next, stdin);
  return next == 'r' && scanf("%5[a-z]", word) == 1 && strcmp(word, "reset") == 0;
}
#endif

/* Behind a number: takes blanks and one comma, then the end of the line, if it comes. Nothing of
 * the next row is read: the answer must not wait for it. */
static int line_ends(void) {
  int next = getchar();
  for (int commas = 0; (isspace(next) && next != '\n') || (next == ',' && commas++ == 0);)
    next = getchar();
  if (next == '\n' || next == EOF) return 1;
  ungetc(next, stdin);
  return 0;
}

/* Observations from standard input, actions to standard output, until the input ends. */
static int act_on_input(void) {
#ifdef EDGEDST_HISTORY
  edgedst_reset();
#endif
  for (unsigned long row = 1;; row++) {
    float observation[OBSERVATIONS], action[ACTIONS];
#ifdef EDGEDST_HISTORY
    while (reset_comes()) edgedst_reset();
#endif
    unsigned long numbers = 0;
    if (scanf(" ") == EOF || feof(stdin)) return 0;
    do {
      float number;
      if (scanf("%f", &number) != 1 || !isfinite(number)) {
        fprintf(stderr, "run_c: number %lu of row %lu is not a finite number; it gets no action.\n",
                numbers + 1, row);
        return 1;
      }
      if (numbers < OBSERVATIONS) observation[numbers] = number;
      numbers++;
    } while (!line_ends());
    if (numbers != OBSERVATIONS) {
      fprintf(stderr, "run_c: row %lu has %lu numbers; expected %d.\n", row, numbers, OBSERVATIONS);
      return 1;
    }
    edgedst_act(observation, action);
    for (int i = 0; i < ACTIONS; i++) {
      if (isfinite(action[i])) continue;
      fprintf(stderr,
              "run_c: action %d of row %lu is not finite: the observation is far outside of what "
              "the actor was trained with; no action was given for it.\n",
              i + 1, row);
      return 1;
    }
    for (int i = 0; i < ACTIONS; i++) printf("%.9g%c", action[i], i + 1 < ACTIONS ? ',' : '\n');
    fflush(stdout);
  }
}

#if defined(__unix__) || defined(__APPLE__)
static int ascending(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

/* Observation in, action out, one step at a time. */
static void print_times(void) {
  static double microseconds[STEPS];
  for (int step = -100; step < STEPS; step++) { /* the first hundred fill the caches */
    struct timespec before, after;
    float action[ACTIONS];
    size_t pair = (size_t)(step + 100) % pairs;
    const float* observation = golden + pair * PAIR;
    begin_pair(pair);
    clock_gettime(CLOCK_MONOTONIC, &before);
    edgedst_act(observation, action);
    clock_gettime(CLOCK_MONOTONIC, &after);
    if (step >= 0)
      microseconds[step] = (double)(after.tv_sec - before.tv_sec) * 1e6 +
                           (double)(after.tv_nsec - before.tv_nsec) * 1e-3;
  }
  qsort(microseconds, STEPS, sizeof microseconds[0], ascending);
  printf("step          p50 %.1f, p99 %.1f, max %.1f microseconds (%d steps)\n",
         microseconds[STEPS / 2], microseconds[STEPS / 100 * 99], microseconds[STEPS - 1], STEPS);
}
#else
static void print_times(void) { printf("step          not timed: no POSIX clock here\n"); }
#endif

int main(int count, char** arguments) {
  if (count > 2 || (count == 2 && strcmp(arguments[1], "-") != 0)) {
    fprintf(stderr,
            "usage: %s       check the golden pairs and time a step\n"
            "       %s -     observations from standard input, actions to standard output\n",
            arguments[0], arguments[0]);
    return 2;
  }
  if (check_golden() != 0) return 1;
  if (count == 2) return act_on_input();
  printf("actor         %s on %s, step %ld, %s weights\n", EDGEDST_METHOD, EDGEDST_ENVIRONMENT,
         (long)EDGEDST_STEP, EDGEDST_DTYPE);
  printf("memory        %lu bytes of constants, %lu bytes of static RAM\n",
         (unsigned long)EDGEDST_CONSTANT_BYTES, (unsigned long)EDGEDST_RAM_BYTES);
  print_times();
  return 0;
}
