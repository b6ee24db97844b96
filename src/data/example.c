/* example.c: rows as ids and targets. Invariant: targets[0] of every example is -1, every id and target is below the
 * vocabulary's size, and an example without a target is never kept. Tests: tests/data/test_example.c. */
#include "data/example.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/size.h"

typedef struct place {
    size_t start; /* in ids and targets */
    int64_t length, supervised, row;
} place;

struct stlora_examples {
    int32_t *ids, *targets;
    size_t ids_room, targets_room, used; /* used: of both */
    place *places;
    size_t places_room, count;
    stlora_example_counts counts;
};

/* One reading of all files. */
typedef struct reading {
    stlora_examples *into;
    const stlora_example_options *options;
    stlora_ids ids; /* of the row at hand */
} reading;

/* prompt and completion as one text, created; NUL-terminated by the allocator's zeros. */
static stlora_status join(const stlora_row *row, char **out, size_t *length, stlora_error *err)
{
    size_t total, bytes;
    char *text;
    if (!stlora_size_add(row->prompt_length, row->completion_length, &total) ||
        !stlora_size_add(total, 1, &bytes))
        return stlora_fail(err, STLORA_E_NOMEM, "%s: the row is longer than memory", row->where);
    STLORA_TRY(stlora_alloc(&text, bytes, 1, "text of a row", err));
    memcpy(text, row->prompt, row->prompt_length);
    memcpy(text + row->prompt_length, row->completion, row->completion_length);
    *out = text;
    *length = total;
    return STLORA_OK;
}

/* Appends the ids of text; the tokenizer knows no rows, so its sentence gets the row in front. */
static stlora_status encode(const stlora_tokenizer *tokenizer, const stlora_row *row,
                            const char *text, size_t length, stlora_ids *ids, stlora_error *err)
{
    stlora_error why = {0};
    stlora_status status = stlora_tokenizer_encode(tokenizer, text, length, true, ids, &why);
    if (status == STLORA_OK) return STLORA_OK;
    return stlora_fail(err, status, "%s: %s", row->where, why.text);
}

static stlora_status copy_ids(const stlora_row *row, stlora_ids *ids, stlora_error *err)
{
    for (size_t i = 0; i < row->id_count; i++)
        STLORA_TRY(stlora_ids_push(ids, (int32_t)row->input_ids[i], err));
    return STLORA_OK;
}

stlora_status stlora_encode_row(const stlora_tokenizer *tokenizer, const stlora_row *row,
                                stlora_ids *ids, size_t *prompt_ids, bool *prompt_is_prefix,
                                stlora_error *err)
{
    size_t prompt = 0, length = 0;
    bool is_prefix = true;
    char *text = NULL;
    ids->count = 0;
    if (row->kind == STLORA_ROW_INPUT_IDS) {
        STLORA_TRY(copy_ids(row, ids, err));
    } else {
        if (!tokenizer)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: a {%s} row needs the model's tokenizer.json, and there is none",
                               row->where, stlora_row_kind_name(row->kind));
        STLORA_TRY(join(row, &text, &length, err));
        stlora_status status = encode(tokenizer, row, text, length, ids, err);
        stlora_free(text);
        STLORA_TRY(status);
    }
    if (row->has_prompt) {
        /* The prompt alone, behind the row for as long as the two are compared. */
        const size_t all = ids->count;
        STLORA_TRY(encode(tokenizer, row, row->prompt, row->prompt_length, ids, err));
        prompt = ids->count - all;
        is_prefix = prompt <= all && (prompt == 0 || !memcmp(ids->data, ids->data + all,
                                                             prompt * sizeof *ids->data));
        ids->count = all;
    }
    *prompt_ids = prompt;
    *prompt_is_prefix = is_prefix;
    return STLORA_OK;
}

/* Room for one more example of `length` ids. */
static stlora_status reserve(stlora_examples *all, size_t length, stlora_error *err)
{
    size_t need; /* at least 1, so that there is something to point into */
    if (!stlora_size_add(all->used, length ? length : 1, &need))
        return stlora_fail(err, STLORA_E_NOMEM, "the examples are more than memory can hold");
    STLORA_TRY(
        stlora_grow(&all->ids, &all->ids_room, need, sizeof *all->ids, "ids of the examples", err));
    STLORA_TRY(stlora_grow(&all->targets, &all->targets_room, need, sizeof *all->targets,
                           "targets of the examples", err));
    return stlora_grow(&all->places, &all->places_room, all->count + 1, sizeof *all->places,
                       "examples", err);
}

/* Keeps ids as an example that is supervised from `first` on, with labels where given; cuts, counts, drops. */
static stlora_status keep(reading *r, size_t first, const int64_t *labels, stlora_error *err)
{
    stlora_examples *all = r->into;
    const int64_t limit = r->options->max_length;
    const int64_t row = all->counts.rows++;
    size_t length = r->ids.count;
    if (limit > 0 && (uint64_t)length > (uint64_t)limit) {
        length = (size_t)limit;
        all->counts.cut++;
    }
    STLORA_TRY(reserve(all, length, err));
    int32_t *targets = all->targets + all->used;
    int64_t supervised = 0;
    for (size_t i = 0; i < length; i++) {
        int32_t target = labels ? (int32_t)labels[i] : r->ids.data[i];
        if (i == 0 || i < first || target < 0) target = -1;
        targets[i] = target;
        supervised += target >= 0;
    }
    if (supervised == 0) {
        all->counts.dropped++;
        return STLORA_OK;
    }
    memcpy(all->ids + all->used, r->ids.data, length * sizeof *all->ids);
    all->places[all->count++] = (place){all->used, (int64_t)length, supervised, row};
    all->used += length;
    all->counts.tokens += (int64_t)length;
    all->counts.supervised += supervised;
    if ((int64_t)length > all->counts.longest) all->counts.longest = (int64_t)length;
    return STLORA_OK;
}

static stlora_status keep_text(reading *r, const stlora_row *row, stlora_error *err)
{
    const stlora_example_options *o = r->options;
    size_t prompt_ids;
    bool is_prefix;
    STLORA_TRY(stlora_encode_row(o->tokenizer, row, &r->ids, &prompt_ids, &is_prefix, err));
    if (!is_prefix) r->into->counts.prompt_no_prefix++;
    for (size_t i = 0; i < r->ids.count; i++) {
        if (o->vocab_size > 0 && r->ids.data[i] >= o->vocab_size)
            return stlora_fail(
                err, STLORA_E_FORMAT,
                "%s: token %zu of the row has the id %d, but the model's ids end at %lld: "
                "tokenizer.json is not this model's",
                row->where, i, (int)r->ids.data[i], (long long)o->vocab_size - 1);
    }
    if (o->eos >= 0 && (r->ids.count == 0 || r->ids.data[r->ids.count - 1] != o->eos))
        STLORA_TRY(stlora_ids_push(&r->ids, o->eos, err));
    return keep(r, o->completion_only ? prompt_ids : 0, NULL, err);
}

static stlora_status check_range(const stlora_row *row, const char *key, const int64_t *values,
                                 int64_t vocab_size, stlora_error *err)
{
    if (vocab_size <= 0 || !values) return STLORA_OK;
    for (size_t i = 0; i < row->id_count; i++) {
        if (values[i] >= vocab_size)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: \"%s\"[%zu] is %lld, but the model's ids end at %lld",
                               row->where, key, i, (long long)values[i], (long long)vocab_size - 1);
    }
    return STLORA_OK;
}

static stlora_status keep_ids(reading *r, const stlora_row *row, stlora_error *err)
{
    STLORA_TRY(check_range(row, "input_ids", row->input_ids, r->options->vocab_size, err));
    STLORA_TRY(check_range(row, "labels", row->labels, r->options->vocab_size, err));
    r->ids.count = 0;
    STLORA_TRY(copy_ids(row, &r->ids, err));
    return keep(r, 0, row->labels, err);
}

static stlora_status take_example(void *context, const stlora_row *row, stlora_error *err)
{
    if (row->kind == STLORA_ROW_CHOICE)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: {%s} rows are for eval --task choice",
                           row->where, stlora_row_kind_name(row->kind));
    return row->kind == STLORA_ROW_INPUT_IDS ? keep_ids(context, row, err)
                                             : keep_text(context, row, err);
}

/* The sentence for the file (or files) in which nothing is left to learn. */
static stlora_status nothing_left(const stlora_example_counts *counts, const char *const *paths,
                                  size_t path_count, int64_t max_length, stlora_error *err)
{
    char more[48] = "", cut[96] = "";
    if (path_count > 1) (void)snprintf(more, sizeof more, " and %zu more", path_count - 1);
    if (counts->cut > 0)
        (void)snprintf(cut, sizeof cut, ", %lld of them cut at %lld tokens", (long long)counts->cut,
                       (long long)max_length);
    return stlora_fail(err, STLORA_E_FORMAT, "%s%s: none of the %lld rows has a supervised token%s",
                       paths[0], more, (long long)counts->rows, cut);
}

stlora_status stlora_examples_read(stlora_examples **out, const char *const *paths,
                                   size_t path_count, const stlora_example_options *options,
                                   stlora_row_kind *kind, stlora_error *err)
{
    assert(options->max_length >= 0);
    if (path_count == 0) return stlora_fail(err, STLORA_E_USAGE, "no file of rows was given");
    if (options->vocab_size > 0 && options->eos >= options->vocab_size)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "the end-of-sequence token is %d, but the model's ids end at %lld",
                           (int)options->eos, (long long)options->vocab_size - 1);
    reading r = {.options = options};
    stlora_row_kind found = STLORA_ROW_TEXT;
    bool known = false;
    stlora_status status = stlora_alloc(&r.into, 1, sizeof *r.into, "examples", err);
    for (size_t i = 0; i < path_count && status == STLORA_OK; i++)
        status = stlora_rows_read(paths[i], &known, &found, take_example, &r, err);
    if (status == STLORA_OK && r.into->count == 0)
        status = nothing_left(&r.into->counts, paths, path_count, options->max_length, err);
    stlora_ids_free(&r.ids);
    if (status != STLORA_OK) {
        stlora_examples_free(r.into);
        return status;
    }
    *out = r.into;
    *kind = found;
    return STLORA_OK;
}

void stlora_examples_free(stlora_examples *examples)
{
    if (!examples) return;
    stlora_free(examples->ids);
    stlora_free(examples->targets);
    stlora_free(examples->places);
    stlora_free(examples);
}

size_t stlora_examples_count(const stlora_examples *examples)
{
    return examples->count;
}

stlora_example stlora_examples_at(const stlora_examples *examples, size_t i)
{
    assert(i < examples->count);
    const place *p = &examples->places[i];
    return (stlora_example){.ids = examples->ids + p->start,
                            .targets = examples->targets + p->start,
                            .length = p->length,
                            .supervised = p->supervised,
                            .row = p->row};
}

const stlora_example_counts *stlora_examples_counts(const stlora_examples *examples)
{
    return &examples->counts;
}

size_t stlora_examples_bytes(const stlora_examples *examples)
{
    return sizeof *examples + examples->ids_room * sizeof *examples->ids +
           examples->targets_room * sizeof *examples->targets +
           examples->places_room * sizeof *examples->places;
}
