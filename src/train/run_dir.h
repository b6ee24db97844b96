/* run_dir.h: the files of a run: who may use the directory, metrics.jsonl, checkpoints found and pruned.
 * What the files hold is the contract of docs/CLI.md. Test: tests/train/test_run_dir.c.
 */
#ifndef STLORA_TRAIN_RUN_DIR_H
#define STLORA_TRAIN_RUN_DIR_H

#include <jansson.h>

#include "base/error.h"
#include "report/event_file.h"
#include "stlora/optim.h"
#include "stlora/train.h"

/* stlora_run_dir_check: may a run write to path? Absent, an empty directory, or anything that is a directory when resuming.
 * STLORA_E_USAGE otherwise, naming what is there. Writes nothing. */
STLORA_NODISCARD stlora_status stlora_run_dir_check(const char *path, bool resuming, stlora_error *err);

/* stlora_run_dir_make: makes the directory and its missing parents; an existing one is kept. Removes what a killed run left
 * half-written (temporary names only). */
STLORA_NODISCARD stlora_status stlora_run_dir_make(const char *path, stlora_error *err);

/* stlora_run_dir_latest: path of the checkpoint with the highest step in *out (freed with stlora_free), NULL when there is none. */
STLORA_NODISCARD stlora_status stlora_run_dir_latest(const char *path, char **out, stlora_error *err);

/* stlora_run_dir_prune: removes all but the `keep` newest checkpoints; keep 0 = all stay. */
STLORA_NODISCARD stlora_status stlora_run_dir_prune(const char *path, int64_t keep, stlora_error *err);

/* metrics.jsonl or stability.jsonl, appended line by line, each line in one write. */
typedef struct stlora_metrics_file {
    int fd; /* -1 = closed */
    char *path;
    stlora_event_file *events; /* NULL: no event file */
} stlora_metrics_file;

/* stlora_metrics_open: opens dir/name for appending; lines of steps beyond last_step (written by a run that was stopped after
 * its last checkpoint), and with last_step < 0 all lines, are taken out first, atomically. */
STLORA_NODISCARD stlora_status stlora_metrics_open(stlora_metrics_file *out, const char *dir, const char *name,
                                                   int64_t last_step, stlora_error *err);
/* stlora_metrics_add_events: from now on every line goes to a new TensorBoard event file in dir, too. last_step as above. */
STLORA_NODISCARD stlora_status stlora_metrics_add_events(stlora_metrics_file *file, const char *dir, int64_t last_step,
                                                         stlora_error *err);
STLORA_NODISCARD stlora_status stlora_metrics_step(stlora_metrics_file *file, const stlora_step_metrics *metrics,
                                                   stlora_error *err);
STLORA_NODISCARD stlora_status stlora_metrics_eval(stlora_metrics_file *file, const stlora_eval_metrics *metrics,
                                                   stlora_error *err);
/* stlora_metrics_pair: a line of stability.jsonl: what step `step` changed in a pair, seen over `tokens` tokens. */
STLORA_NODISCARD stlora_status stlora_metrics_pair(stlora_metrics_file *file, int64_t step, int64_t tokens,
                                                   const stlora_pair_state *pair, const stlora_step_change *change,
                                                   stlora_error *err);
void stlora_metrics_close(stlora_metrics_file *file);

/* stlora_hash_file: XXH3-128 of a file's bytes as 32 hexadecimal digits: tells whether an input is the same, no protection
 * against forgery. */
STLORA_NODISCARD stlora_status stlora_hash_file(const char *path, char out[33], stlora_error *err);

/* stlora_list_inputs: {"<path>": null} of the model's config, weights, tokenizer and chat template files, the adapter's, the
 * chosen chat template where it is a file, and the data files; new reference. NULL paths are left out. stlora_hash_inputs: reads them all, the values are "xxh3-128:<digits>" then. */
STLORA_NODISCARD stlora_status stlora_list_inputs(json_t **out, const char *model_dir, const char *adapter_dir,
                                                  const char *chat_template, const char *const *data, size_t data_count, stlora_error *err);
STLORA_NODISCARD stlora_status stlora_hash_inputs(json_t *inputs, stlora_error *err);

#endif
