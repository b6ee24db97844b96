/* tokenizer_load.c: a directory's tokenizer.json into the parts of a tokenizer. Not here: what the parts do.
 * Guarded by tests/text/test_tokenizer_bad.c. */
#include "base/atomic_file.h"
#include "base/file_map.h"
#include "text/tokenizer_parts.h"

static const size_t LARGEST_FILE = (size_t)1 << 30;

static stlora_status check_top(const json_t *root, const stlora_place *file, stlora_error *err)
{
    if (!json_is_object(root)) return stlora_wanted(file, "an object", root, err);
    const char *version;
    size_t length;
    STLORA_TRY(stlora_member_string(root, "version", false, &version, &length, file, err));
    if (version && strcmp(version, "1.0") != 0)
        return stlora_place_fail(file, STLORA_E_UNSUPPORTED, err, "version '%.40s' is not supported, only 1.0",
                                 version);
    return STLORA_OK;
}

static stlora_status read_parts(stlora_tokenizer *t, const json_t *root, const stlora_bpe_text *text,
                                const stlora_place *file, stlora_error *err)
{
    stlora_place place = {file, "model", 0};
    STLORA_TRY(check_top(root, file, err));
    STLORA_TRY(stlora_bpe_read(&t->bpe, json_object_get(root, place.name), text, &place, err));
    place.name = "normalizer";
    STLORA_TRY(stlora_normalizer_read(&t->normalizer, json_object_get(root, place.name), &place, err));
    place.name = "pre_tokenizer";
    STLORA_TRY(stlora_pretokenizer_read(&t->pretokenizer, json_object_get(root, place.name), &place, err));
    place.name = "added_tokens";
    STLORA_TRY(stlora_added_read(&t->added, json_object_get(root, place.name), &t->bpe.vocabulary, &t->normalizer,
                                 &place, err));
    place.name = "post_processor";
    STLORA_TRY(
        stlora_post_processor_read(&t->post_processor, json_object_get(root, place.name), t->added.ids, &place, err));
    place.name = "decoder";
    STLORA_TRY(stlora_token_decoder_read(&t->decoder, json_object_get(root, place.name), &place, err));

    STLORA_TRY(stlora_bpe_prepare(&t->bpe, stlora_pretokenizer_spells_bytes(&t->pretokenizer), err));
    if (t->bpe.raw) stlora_pretokenizer_leave_raw(&t->pretokenizer);
    return STLORA_OK;
}

/* The two members that are nearly all of the file are left in their text; the rest is built. */
static stlora_status read_text(stlora_tokenizer *t, const char *bytes, size_t size, const char *path, stlora_error *err)
{
    static const char *const model_name[] = {"model"}, *const large_names[] = {"vocab", "merges"};
    stlora_bpe_text text = {.file = {bytes, size}};
    stlora_json_span model = {0}, large[2] = {{0}};
    json_t *root = NULL;
    stlora_json_find_members(text.file, model_name, &model, 1);
    if (model.text) stlora_json_find_members(model, large_names, large, 2);
    text.vocab = large[0];
    text.merges = large[1];
    STLORA_TRY(stlora_json_parse_without(&root, text.file, large, 2, path, err));
    stlora_place file = {NULL, path, 0};
    stlora_status status = read_parts(t, root, &text, &file, err);
    json_decref(root);
    return status;
}

static stlora_status read_directory(stlora_tokenizer *t, const char *dir, stlora_error *err)
{
    char *path, *text = NULL;
    size_t size = 0;
    STLORA_TRY(stlora_path_join(&path, dir, "tokenizer.json", err));
    stlora_status status = stlora_file_read(&text, &size, path, LARGEST_FILE, err);
    if (status == STLORA_OK) status = read_text(t, text, size, path, err);
    stlora_free(text);
    stlora_free(path);
    if (status != STLORA_OK) return status;

    STLORA_TRY(stlora_path_join(&path, dir, "tokenizer_config.json", err));
    if (stlora_path_exists(path)) status = stlora_tokenizer_config_read(t, path, err);
    stlora_free(path);
    return status;
}

stlora_status stlora_tokenizer_load(stlora_tokenizer **out, const char *dir, stlora_error *err)
{
    stlora_tokenizer *t;
    STLORA_TRY(stlora_alloc(&t, 1, sizeof *t, "tokenizer", err));
    t->bos = t->eos = t->pad = t->unk = -1;
    stlora_status status = read_directory(t, dir, err);
    if (status != STLORA_OK) {
        stlora_tokenizer_free(t);
        return status;
    }
    *out = t;
    return STLORA_OK;
}

void stlora_tokenizer_free(stlora_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    stlora_normalizer_free(&tokenizer->normalizer);
    stlora_pretokenizer_free(&tokenizer->pretokenizer);
    stlora_bpe_free(&tokenizer->bpe);
    stlora_added_free(&tokenizer->added);
    stlora_post_processor_free(&tokenizer->post_processor);
    stlora_token_decoder_free(&tokenizer->decoder);
    stlora_free(tokenizer);
}

size_t stlora_tokenizer_vocab_size(const stlora_tokenizer *tokenizer)
{
    return tokenizer->added.ids;
}

int32_t stlora_tokenizer_bos(const stlora_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t stlora_tokenizer_eos(const stlora_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

int32_t stlora_tokenizer_pad(const stlora_tokenizer *tokenizer)
{
    return tokenizer->pad;
}

int32_t stlora_tokenizer_unk(const stlora_tokenizer *tokenizer)
{
    return tokenizer->unk;
}

bool stlora_tokenizer_is_added(const stlora_tokenizer *tokenizer, int32_t id)
{
    return stlora_added_by_id(&tokenizer->added, id) != NULL;
}

int32_t stlora_tokenizer_find(const stlora_tokenizer *tokenizer, const char *content)
{
    const stlora_added_token *token = stlora_added_find(&tokenizer->added, content, strlen(content));
    return token ? token->id : stlora_piece_map_find(&tokenizer->bpe.vocabulary, content, strlen(content));
}
