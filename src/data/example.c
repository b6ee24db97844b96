/* example.c: rows as ids and where their targets begin. Invariant: every id and target is below the vocabulary's size, and an example without a target is never kept. Tests: tests/data/test_example.c. */
#include "data/example.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/size.h"
#include "text/token_spans.h"

enum {
    SMALLEST_BLOCK = 1 << 10,
    LARGEST_BLOCK = 1 << 20
}; /* ids; a block is as large as all before it, within these */

typedef struct id_block {
    int32_t *ids;
    size_t room;
} id_block;

struct stlora_examples {
    id_block *blocks;
    size_t block_count, blocks_room, room, used; /* room: of all blocks; used: of the last one */
    stlora_example *items;
    size_t items_room, count;
    stlora_example_counts counts;
};

/* What one thread makes of its rows. */
typedef struct reading {
    stlora_examples *into; /* of the block of rows at hand */
    const stlora_example_options *options;
    stlora_encoder *encoder; /* NULL without a tokenizer */
    stlora_ids ids;          /* of the row at hand */
    stlora_text_span *spans; /* of ids: its answers */
    size_t spans_room;
} reading;

/* prompt and completion as one text, created; NUL-terminated by the allocator's zeros. */
static stlora_status join(const stlora_row *row, char **out, size_t *length, stlora_error *err)
{
    size_t total, bytes;
    char *text;
    if (!stlora_size_add(row->prompt_length, row->completion_length, &total) || !stlora_size_add(total, 1, &bytes))
        return stlora_fail(err, STLORA_E_NOMEM, "%s: the row is longer than memory", row->where);
    STLORA_TRY(stlora_alloc(&text, bytes, 1, "text of a row", err));
    memcpy(text, row->prompt, row->prompt_length);
    memcpy(text + row->prompt_length, row->completion, row->completion_length);
    *out = text;
    *length = total;
    return STLORA_OK;
}

/* Tokenizer and template know no rows, so their sentence gets the row in front. */
static stlora_status of_row(stlora_status status, const stlora_row *row, const stlora_error *why, stlora_error *err)
{
    return status == STLORA_OK ? status : stlora_fail(err, status, "%s: %s", row->where, why->text);
}

/* Appends the ids of text. */
static stlora_status encode(stlora_encoder *encoder, const stlora_row *row, const char *text, size_t length,
                            bool add_special_tokens, stlora_ids *ids, stlora_error *err)
{
    stlora_error why = {0};
    return of_row(stlora_encode(encoder, text, length, add_special_tokens, ids, &why), row, &why, err);
}

static stlora_status need_encoder(const stlora_encoder *encoder, const stlora_row *row, stlora_error *err)
{
    if (encoder) return STLORA_OK;
    return stlora_fail(err, STLORA_E_FORMAT, "%s: a {%s} row needs the model's tokenizer.json, and there is none",
                       row->where, stlora_row_kind_name(row->kind));
}

/* The conversation's text, with its answers as spans where they are wanted. */
static stlora_status render(const stlora_chat *chat, const stlora_row *row, bool answers, stlora_chat_text *text,
                            stlora_error *err)
{
    stlora_error why = {0};
    if (!chat) return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: messages rows are not supported here", row->where);
    stlora_status status = answers ? stlora_chat_render_answers(chat, &row->conversation, text, &why)
                                   : stlora_chat_render(chat, &row->conversation, false, text, &why);
    return of_row(status, row, &why, err);
}

static stlora_status copy_ids(const stlora_row *row, stlora_ids *ids, stlora_error *err)
{
    for (size_t i = 0; i < row->id_count; i++)
        STLORA_TRY(stlora_ids_push(ids, (int32_t)row->input_ids[i], err));
    return STLORA_OK;
}

static stlora_status encode_messages(stlora_encoder *encoder, const stlora_chat *chat, const stlora_row *row,
                                     stlora_ids *ids, stlora_error *err)
{
    stlora_chat_text text;
    STLORA_TRY(render(chat, row, false, &text, err));
    stlora_status status = encode(encoder, row, text.text, text.length, false, ids, err);
    stlora_chat_text_free(&text);
    return status;
}

stlora_status stlora_encode_row(stlora_encoder *encoder, const stlora_chat *chat, const stlora_row *row,
                                stlora_ids *ids, size_t *prompt_ids, bool *prompt_is_prefix, stlora_error *err)
{
    size_t prompt = 0, length = 0;
    bool is_prefix = true;
    char *text = NULL;
    ids->count = 0;
    if (row->kind == STLORA_ROW_INPUT_IDS) {
        STLORA_TRY(copy_ids(row, ids, err));
    } else if (row->kind == STLORA_ROW_MESSAGES) {
        STLORA_TRY(need_encoder(encoder, row, err));
        STLORA_TRY(encode_messages(encoder, chat, row, ids, err));
    } else {
        STLORA_TRY(need_encoder(encoder, row, err));
        STLORA_TRY(join(row, &text, &length, err));
        stlora_status status = encode(encoder, row, text, length, true, ids, err);
        stlora_free(text);
        STLORA_TRY(status);
    }
    if (row->has_prompt) {
        /* The prompt alone, behind the row for as long as the two are compared. */
        const size_t all = ids->count;
        STLORA_TRY(encode(encoder, row, row->prompt, row->prompt_length, true, ids, err));
        prompt = ids->count - all;
        is_prefix = prompt <= all && (prompt == 0 || !memcmp(ids->data, ids->data + all, prompt * sizeof *ids->data));
        ids->count = all;
    }
    *prompt_ids = prompt;
    *prompt_is_prefix = is_prefix;
    return STLORA_OK;
}

/* Room for `length` ids on end, which the caller counts as used once it keeps them; at least one, to point to. */
static stlora_status reserve(stlora_examples *all, size_t length, int32_t **ids, stlora_error *err)
{
    if (all->block_count == 0 || length >= all->blocks[all->block_count - 1].room - all->used) {
        size_t room = all->room + SMALLEST_BLOCK < LARGEST_BLOCK ? all->room + SMALLEST_BLOCK : LARGEST_BLOCK;
        if (room <= length && !stlora_size_add(length, 1, &room))
            return stlora_fail(err, STLORA_E_NOMEM, "the examples are more than memory can hold");
        STLORA_TRY(stlora_grow(&all->blocks, &all->blocks_room, all->block_count + 1, sizeof *all->blocks,
                               "ids of the examples", err));
        id_block *block = &all->blocks[all->block_count];
        STLORA_TRY(stlora_alloc(&block->ids, room, sizeof *block->ids, "ids of the examples", err));
        block->room = room;
        all->block_count++;
        all->room += room;
        all->used = 0;
    }
    *ids = all->blocks[all->block_count - 1].ids + all->used;
    return STLORA_OK;
}

/* Copies an example; its counts are the caller's. */
static stlora_status add(stlora_examples *all, const stlora_example *example, stlora_error *err)
{
    const size_t length = (size_t)example->length, parts = example->labels ? 2 : 1;
    int32_t *ids = NULL;
    size_t need;
    if (!stlora_size_mul(length, parts, &need))
        return stlora_fail(err, STLORA_E_NOMEM, "the examples are more than memory can hold");
    STLORA_TRY(reserve(all, need, &ids, err));
    STLORA_TRY(stlora_grow(&all->items, &all->items_room, all->count + 1, sizeof *all->items, "examples", err));
    stlora_example copy = *example;
    memcpy(ids, example->ids, length * sizeof *ids);
    copy.ids = ids;
    if (example->labels) {
        memcpy(ids + length, example->labels, length * sizeof *ids);
        copy.labels = ids + length;
    }
    all->items[all->count++] = copy;
    all->used += need;
    return STLORA_OK;
}

/* Keeps r->ids as an example that is supervised from `first` on, with a label for each id where given; cuts, counts, drops. */
static stlora_status keep(reading *r, size_t first, const int32_t *labels, stlora_error *err)
{
    stlora_example_counts *counts = &r->into->counts;
    const int64_t limit = r->options->max_length;
    stlora_example e = {.ids = r->ids.data, .labels = labels, .length = (int64_t)r->ids.count, .row = counts->rows++};
    if (limit > 0 && e.length > limit) {
        e.length = limit;
        counts->cut++;
    }
    e.first = first < 1 ? 1 : (int64_t)first;
    for (int64_t i = e.first; i < e.length; i++)
        e.supervised += stlora_example_target(&e, i) >= 0;
    if (e.supervised == 0) {
        counts->dropped++;
        return STLORA_OK;
    }
    counts->tokens += e.length;
    counts->supervised += e.supervised;
    if (e.length > counts->longest) counts->longest = e.length;
    return add(r->into, &e, err);
}

static stlora_status check_ids(const reading *r, const stlora_row *row, stlora_error *err)
{
    const int64_t vocab_size = r->options->vocab_size;
    for (size_t i = 0; i < r->ids.count; i++) {
        if (vocab_size > 0 && r->ids.data[i] >= vocab_size)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: token %zu of the row has the id %d, but the model's ids end at %lld: "
                               "tokenizer.json is not this model's",
                               row->where, i, (int)r->ids.data[i], (long long)vocab_size - 1);
    }
    return STLORA_OK;
}

static stlora_status keep_text(reading *r, const stlora_row *row, stlora_error *err)
{
    const stlora_example_options *o = r->options;
    size_t prompt_ids;
    bool is_prefix;
    STLORA_TRY(stlora_encode_row(r->encoder, o->chat, row, &r->ids, &prompt_ids, &is_prefix, err));
    if (!is_prefix) r->into->counts.prompt_no_prefix++;
    STLORA_TRY(check_ids(r, row, err));
    if (o->eos >= 0 && (r->ids.count == 0 || r->ids.data[r->ids.count - 1] != o->eos))
        STLORA_TRY(stlora_ids_push(&r->ids, o->eos, err));
    return keep(r, o->completion_only ? prompt_ids : 0, NULL, err);
}

/* The ids and where they hold an answer, into r->ids and r->spans; *count answers. */
static stlora_status encode_answers(reading *r, const stlora_row *row, size_t *count, stlora_error *err)
{
    stlora_chat_text text;
    stlora_error why = {0};
    STLORA_TRY(render(r->options->chat, row, true, &text, err));
    stlora_status status =
        stlora_grow(&r->spans, &r->spans_room, text.span_count + 1, sizeof *r->spans, "answers", &why);
    if (status == STLORA_OK)
        status = stlora_encode_spans(r->encoder, text.text, text.length, text.spans, text.span_count, &r->ids, r->spans,
                                     &why);
    *count = text.span_count;
    stlora_chat_text_free(&text);
    return of_row(status, row, &why, err);
}

static stlora_status keep_messages(reading *r, const stlora_row *row, stlora_error *err)
{
    size_t prompt_ids, answers = 0;
    bool is_prefix;
    STLORA_TRY(need_encoder(r->encoder, row, err));
    if (!r->options->completion_only) {
        STLORA_TRY(stlora_encode_row(r->encoder, r->options->chat, row, &r->ids, &prompt_ids, &is_prefix, err));
        STLORA_TRY(check_ids(r, row, err));
        return keep(r, 0, NULL, err);
    }
    STLORA_TRY(encode_answers(r, row, &answers, err));
    STLORA_TRY(check_ids(r, row, err));
    const size_t count = r->ids.count;
    for (size_t i = 0; i < count; i++) /* labels behind the ids, until both are copied */
        STLORA_TRY(stlora_ids_push(&r->ids, -1, err));
    for (size_t k = 0; k < answers; k++)
        for (size_t i = r->spans[k].begin; i < r->spans[k].end; i++)
            r->ids.data[count + i] = r->ids.data[i];
    r->ids.count = count;
    return keep(r, 0, r->ids.data + count, err);
}

static stlora_status check_range(const stlora_row *row, const char *key, const int64_t *values, int64_t vocab_size,
                                 stlora_error *err)
{
    if (vocab_size <= 0 || !values) return STLORA_OK;
    for (size_t i = 0; i < row->id_count; i++) {
        if (values[i] >= vocab_size)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s\"[%zu] is %lld, but the model's ids end at %lld",
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
    if (!row->labels || row->id_count == 0) return keep(r, 0, NULL, err);
    for (size_t i = 0; i < row->id_count; i++) /* labels behind the ids, until both are copied */
        STLORA_TRY(stlora_ids_push(&r->ids, row->labels[i] < 0 ? -1 : (int32_t)row->labels[i], err));
    r->ids.count = row->id_count;
    return keep(r, 0, r->ids.data + row->id_count, err);
}

static stlora_status take_example(void *context, const stlora_row *row, stlora_error *err)
{
    if (row->kind == STLORA_ROW_CHOICE)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: {%s} rows are for eval --task choice", row->where,
                           stlora_row_kind_name(row->kind));
    if (row->kind == STLORA_ROW_MESSAGES) return keep_messages(context, row, err);
    return row->kind == STLORA_ROW_INPUT_IDS ? keep_ids(context, row, err) : keep_text(context, row, err);
}

/* The sentence for the file (or files) in which nothing is left to learn. */
static stlora_status nothing_left(const stlora_example_counts *counts, const char *const *paths, size_t path_count,
                                  int64_t max_length, stlora_error *err)
{
    char more[48] = "", cut[96] = "";
    if (path_count > 1) (void)snprintf(more, sizeof more, " and %zu more", path_count - 1);
    if (counts->cut > 0)
        (void)snprintf(cut, sizeof cut, ", %lld of them cut at %lld tokens", (long long)counts->cut,
                       (long long)max_length);
    return stlora_fail(err, STLORA_E_FORMAT, "%s%s: none of the %lld rows has a supervised token%s", paths[0], more,
                       (long long)counts->rows, cut);
}

static void forget(stlora_examples *examples)
{
    for (size_t i = 0; i < examples->block_count; i++)
        stlora_free(examples->blocks[i].ids);
    examples->block_count = examples->room = examples->used = examples->count = 0;
    examples->counts = (stlora_example_counts){0};
}

/* What a thread has made of its stretch goes behind what is there. */
static stlora_status collect(void *owner, void *context, stlora_error *err)
{
    stlora_examples *all = owner, *part = ((reading *)context)->into;
    stlora_example_counts *sum = &all->counts;
    const stlora_example_counts *more = &part->counts;
    for (size_t i = 0; i < part->count; i++) {
        stlora_example example = part->items[i];
        example.row += sum->rows;
        STLORA_TRY(add(all, &example, err));
    }
    sum->rows += more->rows;
    sum->dropped += more->dropped;
    sum->cut += more->cut;
    sum->prompt_no_prefix += more->prompt_no_prefix;
    sum->tokens += more->tokens;
    sum->supervised += more->supervised;
    if (more->longest > sum->longest) sum->longest = more->longest;
    forget(part);
    return STLORA_OK;
}

static void stop_readings(reading *readings, void **contexts, size_t count)
{
    for (size_t i = 0; readings && i < count; i++) {
        stlora_examples_free(readings[i].into);
        stlora_encoder_free(readings[i].encoder);
        stlora_ids_free(&readings[i].ids);
        stlora_free(readings[i].spans);
    }
    stlora_free(readings);
    stlora_free(contexts);
}

static stlora_status start_readings(reading **readings, void ***contexts, size_t count,
                                    const stlora_example_options *options, stlora_error *err)
{
    STLORA_TRY(stlora_alloc(contexts, count, sizeof **contexts, "readers of rows", err));
    STLORA_TRY(stlora_alloc(readings, count, sizeof **readings, "readers of rows", err));
    for (size_t i = 0; i < count; i++) {
        reading *r = &(*readings)[i];
        (*contexts)[i] = r;
        r->options = options;
        STLORA_TRY(stlora_alloc(&r->into, 1, sizeof *r->into, "examples", err));
        if (options->tokenizer) STLORA_TRY(stlora_encoder_create(&r->encoder, options->tokenizer, err));
    }
    return STLORA_OK;
}

stlora_status stlora_examples_read(stlora_examples **out, const char *const *paths, size_t path_count,
                                   const stlora_example_options *options, stlora_row_kind *kind, stlora_error *err)
{
    assert(options->max_length >= 0);
    if (path_count == 0) return stlora_fail(err, STLORA_E_USAGE, "no file of rows was given");
    if (options->vocab_size > 0 && options->eos >= options->vocab_size)
        return stlora_fail(err, STLORA_E_FORMAT, "the end-of-sequence token is %d, but the model's ids end at %lld",
                           (int)options->eos, (long long)options->vocab_size - 1);
    const size_t workers = (size_t)stlora_team_threads(options->team);
    reading *readings = NULL;
    void **contexts = NULL;
    stlora_examples *all = NULL;
    stlora_row_kind found = STLORA_ROW_TEXT;
    bool known = false;
    stlora_status status = start_readings(&readings, &contexts, workers, options, err);
    if (status == STLORA_OK) status = stlora_alloc(&all, 1, sizeof *all, "examples", err);
    const stlora_row_team team = {workers, options->team, take_example, contexts, collect, all};
    for (size_t i = 0; i < path_count && status == STLORA_OK; i++)
        status = stlora_rows_share(paths[i], &known, &found, &team, err);
    if (status == STLORA_OK && all->count == 0)
        status = nothing_left(&all->counts, paths, path_count, options->max_length, err);
    stop_readings(readings, contexts, workers);
    if (status != STLORA_OK) {
        stlora_examples_free(all);
        return status;
    }
    *out = all;
    *kind = found;
    return STLORA_OK;
}

void stlora_examples_free(stlora_examples *examples)
{
    if (!examples) return;
    forget(examples);
    stlora_free(examples->blocks);
    stlora_free(examples->items);
    stlora_free(examples);
}

size_t stlora_examples_count(const stlora_examples *examples)
{
    return examples->count;
}

stlora_example stlora_examples_at(const stlora_examples *examples, size_t i)
{
    assert(i < examples->count);
    return examples->items[i];
}

const stlora_example_counts *stlora_examples_counts(const stlora_examples *examples)
{
    return &examples->counts;
}

size_t stlora_examples_bytes(const stlora_examples *examples)
{
    return sizeof *examples + examples->room * sizeof(int32_t) + examples->blocks_room * sizeof *examples->blocks +
           examples->items_room * sizeof *examples->items;
}
