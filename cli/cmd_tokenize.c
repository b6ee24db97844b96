/* cmd_tokenize.c: the verb tokenize: standard input to ids or back, whole or line by line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "output.h"
#include "stlora/infer.h"

struct job {
    stlora_tokenize *tokenizer;
    bool special_tokens, json;
};

static stlora_status encode(const struct job *job, const char *text, size_t length, stlora_error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    stlora_status status =
        stlora_tokenize_encode(job->tokenizer, text, length, job->special_tokens, &ids, &count, err);
    if (status != STLORA_OK) return status;
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) (void)json_array_append_new(array, json_integer(ids[i]));
    stlora_release(ids);
    return put_json(array, 0, err);
}

/* ids is what was read at `where`. */
static stlora_status decode(const struct job *job, const json_t *array, const char *where, bool as_json,
                            stlora_error *err)
{
    size_t count = json_array_size(array);
    int32_t *ids = malloc((count + 1) * sizeof *ids);
    if (!ids) return refuse(err, STLORA_E_NOMEM, "no memory for %zu ids", count);
    char *text = NULL;
    size_t length = 0;
    stlora_status status = STLORA_OK;
    for (size_t i = 0; i < count && status == STLORA_OK; i++) {
        const json_t *item = json_array_get(array, i);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            status = refuse(err, STLORA_E_FORMAT, "%s: element %zu of the ids is no token id", where, i);
        else
            ids[i] = (int32_t)id;
    }
    if (status == STLORA_OK)
        status = stlora_tokenize_decode(job->tokenizer, ids, count, !job->special_tokens, &text, &length, err);
    free(ids);
    if (status != STLORA_OK) return status;
    if (as_json) {
        json_t *string = json_stringn(text, length);
        status = string ? put_json(string, 0, err)
                        : refuse(err, STLORA_E_FORMAT, "%s: the ids are no UTF-8 text", where);
    } else {
        status = put(text, length, err);
    }
    stlora_release(text);
    return status;
}

static stlora_status parse(json_t **out, const char *text, size_t length, const char *where,
                           const char *wanted, stlora_error *err)
{
    json_error_t why;
    *out = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (*out) return STLORA_OK;
    return refuse(err, STLORA_E_FORMAT, "%s: wanted %s, found what is no JSON (%.200s)", where, wanted, why.text);
}

static stlora_status decode_bytes(const struct job *job, const char *text, size_t length,
                                  const char *where, bool as_json, stlora_error *err)
{
    json_t *array;
    stlora_status status = parse(&array, text, length, where, "a JSON array of ids", err);
    if (status != STLORA_OK) return status;
    if (json_is_array(array))
        status = decode(job, array, where, as_json, err);
    else
        status = refuse(err, STLORA_E_FORMAT, "%s: wanted a JSON array of ids, found another value", where);
    json_decref(array);
    return status;
}

static stlora_status encode_line(const struct job *job, const char *line, size_t length,
                                 const char *where, stlora_error *err)
{
    json_t *string;
    stlora_status status = parse(&string, line, length, where, "a JSON string", err);
    if (status != STLORA_OK) return status;
    if (json_is_string(string))
        status = encode(job, json_string_value(string), json_string_length(string), err);
    else
        status = refuse(err, STLORA_E_FORMAT, "%s: wanted a JSON string, found another value", where);
    json_decref(string);
    return status;
}

static stlora_status stdin_failed(stlora_error *err)
{
    return refuse(err, STLORA_E_IO, "standard input: %s", strerror(errno));
}

static stlora_status run_lines(const struct job *job, bool decoding, stlora_error *err)
{
    char *line = NULL;
    size_t capacity = 0;
    stlora_status status = STLORA_OK;
    for (long number = 1; status == STLORA_OK; number++) {
        errno = 0;
        ssize_t length = getline(&line, &capacity, stdin);
        if (length < 0) {
            if (ferror(stdin) || errno == ENOMEM) status = stdin_failed(err);
            break;
        }
        if (length > 0 && line[length - 1] == '\n') length--;
        char where[64];
        (void)snprintf(where, sizeof where, "standard input line %ld", number);
        status = decoding ? decode_bytes(job, line, (size_t)length, where, true, err)
                          : encode_line(job, line, (size_t)length, where, err);
        /* Who writes a line and waits for its answer gets it. */
        if (status == STLORA_OK) status = put_flush(err);
    }
    free(line);
    return status;
}

static stlora_status run_whole(const struct job *job, bool decoding, stlora_error *err)
{
    char *text = NULL;
    size_t length = 0, capacity = 0;
    for (;;) {
        if (length == capacity) {
            capacity = capacity ? capacity * 2 : 1 << 16;
            char *larger = realloc(text, capacity);
            if (!larger) {
                free(text);
                return refuse(err, STLORA_E_NOMEM, "no memory for %zu bytes of standard input", capacity);
            }
            text = larger;
        }
        size_t got = fread(text + length, 1, capacity - length, stdin);
        length += got;
        if (got == 0) break;
    }
    stlora_status status;
    if (ferror(stdin))
        status = stdin_failed(err);
    else if (decoding)
        status = decode_bytes(job, text, length, "standard input", job->json, err);
    else
        status = encode(job, text, length, err);
    free(text);
    return status;
}

stlora_status cmd_tokenize(const struct options *options, stlora_error *err)
{
    struct job job = {.special_tokens = option_is(options, "special_tokens", "true"),
                      .json = options->json};
    bool decoding = option_is(options, "decode", "true");
    char *dir = option_text(options, "model");
    if (!dir) return refuse(err, STLORA_E_NOMEM, "no memory for a path");
    stlora_status status = stlora_tokenize_open(&job.tokenizer, dir, err);
    free(dir);
    if (status != STLORA_OK) return status;
    status = option_is(options, "jsonl", "true") ? run_lines(&job, decoding, err)
                                                 : run_whole(&job, decoding, err);
    stlora_tokenize_close(job.tokenizer);
    return status;
}
