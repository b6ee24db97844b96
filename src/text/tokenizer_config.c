/* tokenizer_config.c: the names of special tokens from tokenizer_config.json.
 * Guarded by tests/text/test_tokenizer_small.c, test_tokenizer_bad.c. */
#include "text/tokenizer_parts.h"

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
    json_t *root;
    STLORA_TRY(stlora_config_json_load(&root, path, err));
    stlora_place file = {NULL, path, 0};
    stlora_status status = read_names(tokenizer, root, &file, err);
    json_decref(root);
    return status;
}
