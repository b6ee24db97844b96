/* input_hash.c: fingerprints of a run's inputs for run.json. XXH3 reads a checkpoint at the speed of memory, which is a second for
 * 10 GB: so the inputs are listed when a run is planned, and read when it begins. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/atomic_file.h"
#include "base/file_map.h"
#include "base/memory.h"
#include "train/run_dir.h"

stlora_status stlora_hash_file(const char *path, char out[33], stlora_error *err)
{
    stlora_file_map map;
    STLORA_TRY(stlora_file_map_open(&map, path, err));
    XXH128_hash_t hash = XXH3_128bits(map.size ? (const void *)map.bytes : "", map.size);
    (void)snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    stlora_file_map_close(&map);
    return STLORA_OK;
}

static stlora_status no_memory(stlora_error *err)
{
    return stlora_fail(err, STLORA_E_NOMEM, "no memory for the fingerprints of the inputs");
}

static stlora_status add_file(json_t *object, const char *path, stlora_error *err)
{
    return json_object_set_new_nocheck(object, path, json_null()) == 0 ? STLORA_OK : no_memory(err);
}

static int is_input(const struct dirent *entry)
{
    static const char *const names[] = {"config.json",         "tokenizer.json",      "tokenizer_config.json",
                                        "special_tokens_map.json", "chat_template.jinja", "adapter_config.json"};
    const char *name = entry->d_name, *dot = strrchr(name, '.');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return 1;
    return name[0] != '.' && dot && strcmp(dot, ".safetensors") == 0;
}

/* The files of a model or adapter directory that decide the result, by name. */
static stlora_status add_dir(json_t *object, const char *dir, stlora_error *err)
{
    struct dirent **entries;
    int count = scandir(dir, &entries, is_input, alphasort);
    stlora_status status = STLORA_OK;
    if (count < 0) return stlora_fail(err, STLORA_E_IO, "%s: cannot be read", dir);
    for (int i = 0; i < count; i++) {
        char *path = NULL;
        if (status == STLORA_OK) status = stlora_path_join(&path, dir, entries[i]->d_name, err);
        if (status == STLORA_OK) status = add_file(object, path, err);
        stlora_free(path);
        free(entries[i]);
    }
    free(entries);
    return status;
}

stlora_status stlora_list_inputs(json_t **out, const char *model_dir, const char *adapter_dir,
                                 const char *chat_template, const char *const *data, size_t data_count,
                                 stlora_error *err)
{
    json_t *object = json_object();
    stlora_status status = object ? STLORA_OK : no_memory(err);
    if (status == STLORA_OK && model_dir) status = add_dir(object, model_dir, err);
    if (status == STLORA_OK && adapter_dir) status = add_dir(object, adapter_dir, err);
    if (status == STLORA_OK && chat_template && stlora_path_exists(chat_template) &&
        !stlora_path_is_dir(chat_template))
        status = add_file(object, chat_template, err);
    for (size_t i = 0; status == STLORA_OK && i < data_count; i++)
        status = add_file(object, data[i], err);
    if (status != STLORA_OK) {
        json_decref(object);
        return status;
    }
    *out = object;
    return STLORA_OK;
}

stlora_status stlora_hash_inputs(json_t *inputs, stlora_error *err)
{
    const char *path;
    json_t *value;
    json_object_foreach(inputs, path, value)
    {
        char digits[33], text[64];
        STLORA_TRY(stlora_hash_file(path, digits, err));
        (void)snprintf(text, sizeof text, "xxh3-128:%s", digits);
        /* Setting the value of a key that is there leaves the walk as it is. */
        if (json_object_set_new_nocheck(inputs, path, json_string(text)) != 0) return no_memory(err);
    }
    return STLORA_OK;
}
