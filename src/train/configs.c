/* configs.c: the descriptors of every verb's parameters, made from configs.def beside the structs of configs.h.
 *
 * Invariant: a row's offset is that of the field of the same name. Test: tests/train/test_configs.c.
 */
#include "train/configs.h"

#include <string.h>

#include "base/error.h"

#define STLORA_ROW(type, row_kind, field, default_, lo, hi, open, choices_, metavar_, group_, help_)                   \
    {.name = #field,                                                                                                   \
     .kind = STLORA_PARAM_##row_kind,                                                                                  \
     .default_text = default_,                                                                                         \
     .min = lo,                                                                                                        \
     .max = hi,                                                                                                        \
     .max_open = open,                                                                                                 \
     .choices = choices_,                                                                                              \
     .metavar = metavar_,                                                                                              \
     .group = group_,                                                                                                  \
     .help = help_,                                                                                                    \
     .offset = offsetof(type, field)},

#define TRAIN(...)    STLORA_ROW(stlora_train_config, __VA_ARGS__)
#define COMPARE(...)  STLORA_ROW(stlora_compare_config, __VA_ARGS__)
#define EVAL(...)     STLORA_ROW(stlora_eval_config, __VA_ARGS__)
#define SCORE(...)    STLORA_ROW(stlora_score_config, __VA_ARGS__)
#define GENERATE(...) STLORA_ROW(stlora_generate_config, __VA_ARGS__)
#define CHAT(...)     STLORA_ROW(stlora_chat_config, __VA_ARGS__)
#define TOKENIZE(...) STLORA_ROW(stlora_tokenize_config, __VA_ARGS__)
#define RENDER(...)   STLORA_ROW(stlora_render_config, __VA_ARGS__)
#define INSPECT(...)  STLORA_ROW(stlora_inspect_config, __VA_ARGS__)
#define REPORT(...)   STLORA_ROW(stlora_report_config, __VA_ARGS__)

static const stlora_param train_rows[] = {STLORA_TRAIN_ROWS(TRAIN)};
static const stlora_param compare_rows[] = {STLORA_COMPARE_ROWS(COMPARE)};
static const stlora_param eval_rows[] = {STLORA_EVAL_ROWS(EVAL)};
static const stlora_param score_rows[] = {STLORA_SCORE_ROWS(SCORE)};
static const stlora_param generate_rows[] = {STLORA_GENERATE_ROWS(GENERATE)};
static const stlora_param chat_rows[] = {STLORA_CHAT_ROWS(CHAT)};
static const stlora_param tokenize_rows[] = {STLORA_TOKENIZE_ROWS(TOKENIZE)};
static const stlora_param render_rows[] = {STLORA_RENDER_ROWS(RENDER)};
static const stlora_param inspect_rows[] = {STLORA_INSPECT_ROWS(INSPECT)};
static const stlora_param report_rows[] = {STLORA_REPORT_ROWS(REPORT)};

#define VERB(verb)                                                                                                     \
    {                                                                                                                  \
#        verb, verb##_rows, sizeof verb##_rows / sizeof *verb##_rows, sizeof(stlora_##verb##_config)                   \
    }

static const struct verb {
    const char *name;
    const stlora_param *rows;
    size_t count, size;
} verbs[] = {VERB(train), VERB(compare), VERB(eval), VERB(score), VERB(generate), VERB(chat), VERB(tokenize), VERB(render), VERB(inspect), VERB(report)};

stlora_status stlora_params_create(stlora_params **out, const char *verb, stlora_error *err)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, verb) == 0)
            return stlora_params_create_table(out, verbs[i].name, verbs[i].rows, verbs[i].count, verbs[i].size, err);
    return stlora_fail(err, STLORA_E_USAGE, "there is no verb \"%s\"", verb);
}
