/* small_tokenizer.h: tokenizers made from a few lines of JSON, for the tests of text/. */
#ifndef STLORA_TESTS_SMALL_TOKENIZER_H
#define STLORA_TESTS_SMALL_TOKENIZER_H

#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "support.h"
#include "text/tokenizer.h"

/* Loads a directory that holds just this tokenizer.json (and tokenizer_config.json, when config is not NULL). */
static inline stlora_status load_text(stlora_tokenizer **out, const char *json, size_t length,
                                      const char *config, stlora_error *err)
{
    char path[2][512];
    const char *dir = temporary_dir();
    (void)snprintf(path[0], sizeof path[0], "%s/tokenizer.json", dir);
    (void)snprintf(path[1], sizeof path[1], "%s/tokenizer_config.json", dir);
    FILE *file = fopen(path[0], "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(json, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    if (config) {
        file = fopen(path[1], "wb");
        assert_non_null(file);
        assert_true(fputs(config, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    stlora_status status = stlora_tokenizer_load(out, dir, err);
    (void)unlink(path[0]);
    (void)unlink(path[1]);
    (void)rmdir(dir);
    return status;
}

/* The tokenizer of {members}; "model" may leave out its type and, where there are none, its merges. */
static inline stlora_tokenizer *tokenizer_of(const json_t *root)
{
    json_t *model = json_object_get(root, "model");
    json_object_set_new(model, "type", json_string("BPE"));
    if (!json_object_get(model, "merges")) json_object_set_new(model, "merges", json_array());
    char *text = json_dumps(root, 0);
    assert_non_null(text);
    stlora_error err = {0};
    stlora_tokenizer *tokenizer = NULL;
    assert_ok(load_text(&tokenizer, text, strlen(text), NULL, &err));
    free(text);
    return tokenizer;
}

static inline json_t *object_of(const char *members)
{
    json_error_t why;
    char *text = malloc(strlen(members) + 3);
    assert_non_null(text);
    (void)sprintf(text, "{%s}", members);
    json_t *root = json_loads(text, 0, &why);
    if (!root) fail_msg("%s: %s", members, why.text);
    free(text);
    return root;
}

/* Encodes and decodes again, special tokens kept. The caller frees. */
static inline char *round_trip(const stlora_tokenizer *tokenizer, const char *text, bool special)
{
    stlora_error err = {0};
    stlora_ids ids = {0};
    char *back = NULL;
    size_t length;
    assert_ok(stlora_tokenizer_encode(tokenizer, text, strlen(text), special, &ids, &err));
    assert_ok(stlora_tokenizer_decode(tokenizer, ids.data, ids.count, false, &back, &length, &err));
    stlora_ids_free(&ids);
    return back;
}

#endif
