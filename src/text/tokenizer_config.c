/* tokenizer_config.c: the names of special tokens from tokenizer_config.json. Read apart from base/json because such files
 * hold integers beyond 64 bits (model_max_length 10^30), which only jansson's reading of integers as reals takes.
 * Guarded by tests/text/test_tokenizer_small.c, test_tokenizer_bad.c. */
#include "base/file_map.h"
#include "text/tokenizer_parts.h"

enum { LARGEST_CONFIG = 64 << 20 }; /* bytes */

/* A token's content: a string, or an object with "content"; null and absent: none. */
static stlora_status named_token(const stlora_tokenizer *tokenizer, const json_t *root,
                                 const char *key, int32_t *id, const stlora_place *file,
                                 stlora_error *err)
{
    const json_t *value = json_object_get(root, key);
    stlora_place here = {file, key, 0};
    if (json_is_object(value)) value = json_object_get(value, "content");
    *id = -1;
    if (!value || json_is_null(value)) return STLORA_OK;
    if (!json_is_string(value))
        return stlora_wanted(&here, "a string, an object with content, or null", value, err);
    *id = stlora_tokenizer_find(tokenizer, json_string_value(value));
    return STLORA_OK;
}

static stlora_status read_names(stlora_tokenizer *tokenizer, const json_t *root,
                                const stlora_place *file, stlora_error *err)
{
    if (!json_is_object(root)) return stlora_wanted(file, "an object", root, err);
    STLORA_TRY(named_token(tokenizer, root, "bos_token", &tokenizer->bos, file, err));
    STLORA_TRY(named_token(tokenizer, root, "eos_token", &tokenizer->eos, file, err));
    STLORA_TRY(named_token(tokenizer, root, "pad_token", &tokenizer->pad, file, err));
    return named_token(tokenizer, root, "unk_token", &tokenizer->unk, file, err);
}

stlora_status stlora_tokenizer_config_read(stlora_tokenizer *tokenizer, const char *path,
                                           stlora_error *err)
{
    char *bytes;
    size_t size;
    STLORA_TRY(stlora_file_read(&bytes, &size, path, LARGEST_CONFIG, err));
    json_error_t why;
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
    stlora_free(bytes);
    stlora_place file = {NULL, path, 0};
    if (!root)
        return stlora_place_fail(&file, STLORA_E_FORMAT, err, "line %d, column %d: %s", why.line,
                                 why.column, why.text);
    stlora_status status = read_names(tokenizer, root, &file, err);
    json_decref(root);
    return status;
}
