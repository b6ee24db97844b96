/* configs.h: the typed values of every verb's parameters, made from configs.def. Strings are borrowed from the stlora_params. */
#ifndef STLORA_TRAIN_CONFIGS_H
#define STLORA_TRAIN_CONFIGS_H

#include "base/params.h"
#include "train/configs.def"

#define STLORA_FIELD(kind, field, def, lo, hi, open, choices, metavar, group, help) STLORA_PARAM_TYPE_##kind field;

typedef struct stlora_train_config {
    STLORA_TRAIN_ROWS(STLORA_FIELD)
} stlora_train_config;
typedef struct stlora_compare_config {
    STLORA_COMPARE_ROWS(STLORA_FIELD)
} stlora_compare_config;
typedef struct stlora_eval_config {
    STLORA_EVAL_ROWS(STLORA_FIELD)
} stlora_eval_config;
typedef struct stlora_score_config {
    STLORA_SCORE_ROWS(STLORA_FIELD)
} stlora_score_config;
typedef struct stlora_generate_config {
    STLORA_GENERATE_ROWS(STLORA_FIELD)
} stlora_generate_config;
typedef struct stlora_chat_config {
    STLORA_CHAT_ROWS(STLORA_FIELD)
} stlora_chat_config;
typedef struct stlora_tokenize_config {
    STLORA_TOKENIZE_ROWS(STLORA_FIELD)
} stlora_tokenize_config;
typedef struct stlora_render_config {
    STLORA_RENDER_ROWS(STLORA_FIELD)
} stlora_render_config;
typedef struct stlora_inspect_config {
    STLORA_INSPECT_ROWS(STLORA_FIELD)
} stlora_inspect_config;
typedef struct stlora_report_config {
    STLORA_REPORT_ROWS(STLORA_FIELD)
} stlora_report_config;

#undef STLORA_FIELD

#endif
