/* row_shape.c: see row_shape.h. Invariant: what a key holds is checked before it is used, and a sentence names the key,
 * what was wanted and what was found. Tests: tests/data/test_rows.c, tests/data/test_data_bad.c. */
#include "data/row_shape.h"

#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "base/size.h"
#include "data/conversation.h"

/* The keys that make a row one of a kind, most specific first; messages go by two names. */
static const struct {
    stlora_row_kind kind;
    const char *keys[3];
} SHAPES[] = {
    {STLORA_ROW_INPUT_IDS, {"input_ids"}},
    {STLORA_ROW_MESSAGES, {"messages"}},
    {STLORA_ROW_MESSAGES, {"conversations"}},
    {STLORA_ROW_CHOICE, {"prompt", "choices", "label"}},
    {STLORA_ROW_PROMPT_COMPLETION, {"prompt", "completion"}},
    {STLORA_ROW_INSTRUCTION, {"instruction", "output"}},
    {STLORA_ROW_QUESTION_ANSWER, {"question", "answer"}},
    {STLORA_ROW_TEXT, {"text"}},
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0], SHAPE_KEYS = 3 };

/* Alpaca's wording, as published with the Stanford Alpaca data. */
static const char ALPACA_TASK_WITH_INPUT[] =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n";
static const char ALPACA_TASK[] = "Below is an instruction that describes a task. "
                                  "Write a response that appropriately completes the request.\n\n"
                                  "### Instruction:\n";
static const char ALPACA_INPUT[] = "\n\n### Input:\n";
static const char ALPACA_RESPONSE[] = "\n\n### Response:\n";

typedef struct text {
    const char *bytes;
    size_t length;
} text;

#define LITERAL(array) ((text){(array), sizeof(array) - 1})

const char *stlora_row_kind_name(stlora_row_kind kind)
{
    switch (kind) {
#define STLORA_ROW_KIND_CASE(name, words)                                                                              \
    case STLORA_ROW_##name:                                                                                            \
        return words;
        STLORA_ROW_KINDS(STLORA_ROW_KIND_CASE)
#undef STLORA_ROW_KIND_CASE
    }
    return "unknown";
}

void stlora_row_buffers_free(stlora_row_buffers *buffers)
{
    json_decref(buffers->messages);
    stlora_free(buffers->prompt);
    stlora_free(buffers->input_ids);
    stlora_free(buffers->labels);
    stlora_free(buffers->choices);
    stlora_free(buffers->choice_lengths);
    *buffers = (stlora_row_buffers){0};
}

const char *stlora_row_found(const json_t *value)
{
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction or exponent";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "something unknown";
}

/* Writes the keys of a row into out, as many as fit whole, in the order of the row. */
static void list_keys(json_t *row, char *out, size_t room)
{
    static const char more[] = ", ...";
    size_t used = 0;
    for (void *it = json_object_iter(row); it; it = json_object_iter_next(row, it)) {
        const char *key = json_object_iter_key(it);
        size_t length = strlen(key), comma = used ? 2 : 0;
        if (used + comma + length + sizeof more > room) {
            memcpy(out + used, used ? more : more + 2, used ? sizeof more : sizeof more - 2);
            return;
        }
        memcpy(out + used, ", ", comma);
        memcpy(out + used + comma, key, length);
        used += comma + length;
    }
    out[used] = '\0';
}

stlora_status stlora_row_kind_of(json_t *value, const char *where, stlora_row_kind *kind, stlora_error *err)
{
    if (!json_is_object(value))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: a row must be an object, found %s", where,
                           stlora_row_found(value));
    for (size_t s = 0; s < SHAPE_COUNT; s++) {
        bool all = true;
        for (size_t k = 0; k < SHAPE_KEYS && SHAPES[s].keys[k]; k++)
            all = all && json_object_get(value, SHAPES[s].keys[k]);
        if (!all) continue;
        *kind = SHAPES[s].kind;
        return STLORA_OK;
    }
    char keys[256];
    list_keys(value, keys, sizeof keys);
    return stlora_fail(err, STLORA_E_FORMAT,
                       "%s: no kind of row has the keys {%s}; wanted {text}, {prompt, completion}, "
                       "{instruction, output}, "
                       "{question, answer}, {messages}, {input_ids} or {prompt, choices, label}",
                       where, keys);
}

static stlora_status string_of(json_t *row, const char *key, const char *where, text *out, stlora_error *err)
{
    json_t *value = json_object_get(row, key);
    if (!json_is_string(value))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s\" must be a string, found %s", where, key,
                           stlora_row_found(value));
    *out = (text){json_string_value(value), json_string_length(value)};
    return STLORA_OK;
}

/* Absent, null or a string: "" for the first two. */
static stlora_status optional_string_of(json_t *row, const char *key, const char *where, text *out, stlora_error *err)
{
    json_t *value = json_object_get(row, key);
    if (value && !json_is_null(value)) return string_of(row, key, where, out, err);
    *out = LITERAL("");
    return STLORA_OK;
}

static stlora_status array_of(json_t *row, const char *key, const char *where, json_t **out, stlora_error *err)
{
    json_t *value = json_object_get(row, key);
    if (!json_is_array(value))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s\" must be an array, found %s", where, key,
                           stlora_row_found(value));
    *out = value;
    return STLORA_OK;
}

/* Puts the parts behind one another into the prompt's buffer. */
static stlora_status join_prompt(stlora_row *row, stlora_row_buffers *buffers, const text *parts, size_t count,
                                 stlora_error *err)
{
    size_t total = 1; /* the NUL behind it */
    for (size_t i = 0; i < count; i++)
        if (!stlora_size_add(total, parts[i].length, &total))
            return stlora_fail(err, STLORA_E_NOMEM, "a prompt is longer than memory");
    STLORA_TRY(stlora_grow(&buffers->prompt, &buffers->prompt_room, total, 1, "prompt of a row", err));
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(buffers->prompt + used, parts[i].bytes, parts[i].length);
        used += parts[i].length;
    }
    buffers->prompt[used] = '\0';
    row->prompt = buffers->prompt;
    row->prompt_length = used;
    return STLORA_OK;
}

static void set_prompt(stlora_row *row, text prompt)
{
    row->prompt = prompt.bytes;
    row->prompt_length = prompt.length;
}

static void set_completion(stlora_row *row, text completion)
{
    row->completion = completion.bytes;
    row->completion_length = completion.length;
}

static stlora_status shape_text(stlora_row *row, json_t *value, const char *where, stlora_error *err)
{
    text all;
    STLORA_TRY(string_of(value, "text", where, &all, err));
    row->has_prompt = false;
    set_completion(row, all);
    return STLORA_OK;
}

static stlora_status shape_prompt_completion(stlora_row *row, json_t *value, const char *where, stlora_error *err)
{
    text prompt, completion;
    STLORA_TRY(string_of(value, "prompt", where, &prompt, err));
    STLORA_TRY(string_of(value, "completion", where, &completion, err));
    set_prompt(row, prompt);
    set_completion(row, completion);
    return STLORA_OK;
}

static stlora_status shape_instruction(stlora_row *row, stlora_row_buffers *buffers, json_t *value, const char *where,
                                       stlora_error *err)
{
    text instruction, input, output;
    STLORA_TRY(string_of(value, "instruction", where, &instruction, err));
    STLORA_TRY(optional_string_of(value, "input", where, &input, err));
    STLORA_TRY(string_of(value, "output", where, &output, err));
    set_completion(row, output);
    if (input.length == 0) {
        const text parts[] = {LITERAL(ALPACA_TASK), instruction, LITERAL(ALPACA_RESPONSE)};
        return join_prompt(row, buffers, parts, sizeof parts / sizeof parts[0], err);
    }
    const text parts[] = {LITERAL(ALPACA_TASK_WITH_INPUT), instruction, LITERAL(ALPACA_INPUT), input,
                          LITERAL(ALPACA_RESPONSE)};
    return join_prompt(row, buffers, parts, sizeof parts / sizeof parts[0], err);
}

static stlora_status shape_question(stlora_row *row, stlora_row_buffers *buffers, json_t *value, const char *where,
                                    stlora_error *err)
{
    text question, answer;
    STLORA_TRY(string_of(value, "question", where, &question, err));
    STLORA_TRY(string_of(value, "answer", where, &answer, err));
    set_completion(row, answer);
    bool ends = question.length && question.bytes[question.length - 1] == '\n';
    const text parts[] = {question, LITERAL("\n")};
    return join_prompt(row, buffers, parts, ends ? 1 : 2, err);
}

/* An array of integers from 0 to 2^31-1, and of -100 too where `ignored` allows it. */
static stlora_status integers_of(json_t *row, const char *key, bool ignored, const char *where, int64_t **out,
                                 size_t *room, size_t *count, stlora_error *err)
{
    json_t *array = NULL;
    STLORA_TRY(array_of(row, key, where, &array, err));
    size_t n = json_array_size(array);
    STLORA_TRY(stlora_grow(out, room, n ? n : 1, sizeof **out, key, err));
    for (size_t i = 0; i < n; i++) {
        json_t *value = json_array_get(array, i);
        const char *wanted = ignored ? "an integer from 0 to 2147483647 or -100" : "an integer from 0 to 2147483647";
        if (!json_is_integer(value))
            return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s\"[%zu] must be %s, found %s", where, key, i, wanted,
                               stlora_row_found(value));
        int64_t id = json_integer_value(value);
        if ((id < 0 || id > INT32_MAX) && !(ignored && id == -100))
            return stlora_fail(err, STLORA_E_FORMAT, "%s: \"%s\"[%zu] must be %s, found %lld", where, key, i, wanted,
                               (long long)id);
        (*out)[i] = id;
    }
    *count = n;
    return STLORA_OK;
}

static stlora_status shape_input_ids(stlora_row *row, stlora_row_buffers *buffers, json_t *value, const char *where,
                                     stlora_error *err)
{
    size_t label_count;
    STLORA_TRY(integers_of(value, "input_ids", false, where, &buffers->input_ids, &buffers->input_ids_room,
                           &row->id_count, err));
    row->has_prompt = false;
    row->input_ids = buffers->input_ids;
    json_t *labels = json_object_get(value, "labels");
    if (!labels || json_is_null(labels)) return STLORA_OK;
    STLORA_TRY(integers_of(value, "labels", true, where, &buffers->labels, &buffers->labels_room, &label_count, err));
    if (label_count != row->id_count)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"labels\" must be as many as \"input_ids\", %zu, found %zu",
                           where, row->id_count, label_count);
    row->labels = buffers->labels;
    return STLORA_OK;
}

static stlora_status shape_choice(stlora_row *row, stlora_row_buffers *buffers, json_t *value, const char *where,
                                  stlora_error *err)
{
    text prompt;
    json_t *choices = NULL, *label = json_object_get(value, "label");
    STLORA_TRY(string_of(value, "prompt", where, &prompt, err));
    set_prompt(row, prompt);
    STLORA_TRY(array_of(value, "choices", where, &choices, err));
    size_t n = json_array_size(choices);
    if (n == 0) return stlora_fail(err, STLORA_E_FORMAT, "%s: \"choices\" is empty", where);
    STLORA_TRY(stlora_grow(&buffers->choices, &buffers->choices_room, n, sizeof *buffers->choices, "choices", err));
    STLORA_TRY(stlora_grow(&buffers->choice_lengths, &buffers->choice_lengths_room, n, sizeof *buffers->choice_lengths,
                           "choices", err));
    for (size_t i = 0; i < n; i++) {
        json_t *choice = json_array_get(choices, i);
        if (!json_is_string(choice))
            return stlora_fail(err, STLORA_E_FORMAT, "%s: \"choices\"[%zu] must be a string, found %s", where, i,
                               stlora_row_found(choice));
        buffers->choices[i] = json_string_value(choice);
        buffers->choice_lengths[i] = json_string_length(choice);
    }
    if (!json_is_integer(label))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: \"label\" must be an integer, found %s", where,
                           stlora_row_found(label));
    json_int_t answer = json_integer_value(label);
    if (answer < 0 || (uint64_t)answer >= n)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: \"label\" must be the index of one of the %zu choices, from 0, found %lld", where, n,
                           (long long)answer);
    row->choices = buffers->choices;
    row->choice_lengths = buffers->choice_lengths;
    row->choice_count = n;
    row->answer = (size_t)answer;
    return STLORA_OK;
}

static stlora_status shape_messages(stlora_row *row, stlora_row_buffers *buffers, json_t *value, const char *where,
                                    stlora_error *err)
{
    json_decref(buffers->messages);
    buffers->messages = NULL;
    row->has_prompt = false;
    STLORA_TRY(stlora_conversation_read(&row->conversation, &buffers->messages, value, where, err));
    return stlora_conversation_check(&row->conversation, where, err);
}

stlora_status stlora_row_from_json(stlora_row *row, stlora_row_buffers *buffers, json_t *value, stlora_row_kind kind,
                                   const char *where, stlora_error *err)
{
    stlora_row made = {.kind = kind, .has_prompt = true, .prompt = "", .completion = ""};
    stlora_status status = STLORA_OK;
    switch (kind) {
    case STLORA_ROW_TEXT:
        status = shape_text(&made, value, where, err);
        break;
    case STLORA_ROW_PROMPT_COMPLETION:
        status = shape_prompt_completion(&made, value, where, err);
        break;
    case STLORA_ROW_INSTRUCTION:
        status = shape_instruction(&made, buffers, value, where, err);
        break;
    case STLORA_ROW_QUESTION_ANSWER:
        status = shape_question(&made, buffers, value, where, err);
        break;
    case STLORA_ROW_INPUT_IDS:
        status = shape_input_ids(&made, buffers, value, where, err);
        break;
    case STLORA_ROW_CHOICE:
        status = shape_choice(&made, buffers, value, where, err);
        break;
    case STLORA_ROW_MESSAGES:
        status = shape_messages(&made, buffers, value, where, err);
        break;
    }
    STLORA_TRY(status);
    *row = made;
    return STLORA_OK;
}
