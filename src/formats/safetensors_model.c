/* safetensors_model.c: which files a model directory's weights are in. Invariant: what an index promises is there. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/errno_text.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/safetensors_set.h"

static stlora_status add_shards(stlora_safetensors *s, const char *dir, const char *index,
                                const json_t *names, stlora_error *err)
{
    const char *before = NULL;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (before && strcmp(before, name) == 0) continue;
        if (name[0] == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "%s: weight_map must name files of its own directory, found \"%s\"", index, name);
        char *path;
        STLORA_TRY(stlora_path_join(&path, dir, name, err));
        stlora_status status = stlora_st_add_file(s, path, err);
        stlora_free(path);
        STLORA_TRY(status);
        before = name;
    }
    return STLORA_OK;
}

static int by_json_text(const void *a, const void *b)
{
    const json_t *left, *right;
    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return strcmp(json_string_value(left), json_string_value(right));
}

/* Creates the array of all file names in the map, ascending, with repetitions. */
static stlora_status shard_names(json_t **out, json_t *map, const char *index, stlora_error *err)
{
    json_t **values;
    size_t count = 0;
    STLORA_TRY(stlora_alloc(&values, json_object_size(map), sizeof *values, index, err));
    stlora_status status = STLORA_OK;
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value)
    {
        if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value)) {
            status = stlora_fail(err, STLORA_E_FORMAT, "%s: weight_map \"%s\" must be a file name, found %s", index,
                                 key, stlora_json_type(value));
            break;
        }
        values[count++] = value;
    }
    if (status == STLORA_OK) {
        qsort(values, count, sizeof *values, by_json_text);
        json_t *names = json_array();
        bool whole = names != NULL;
        for (size_t i = 0; whole && i < count; i++) whole = json_array_append(names, values[i]) == 0;
        if (whole) {
            *out = names;
        } else {
            json_decref(names);
            status = stlora_fail(err, STLORA_E_NOMEM, "%s: no memory for its file names", index);
        }
    }
    stlora_free(values);
    return status;
}

static stlora_status keep_promises(const stlora_safetensors *s, json_t *map, const char *index,
                                   stlora_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value)
    {
        const char *file = json_string_value(value);
        const st_tensor *t = stlora_st_find(s, key);
        if (!t)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: promises tensor \"%s\" in %s, which lacks it", index, key,
                               file);
        const char *path = s->files[t->file].path, *slash = strrchr(path, '/');
        if (strcmp(slash ? slash + 1 : path, file) != 0)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: promises tensor \"%s\" in %s, found it in %s", index, key,
                               file, path);
    }
    return STLORA_OK;
}

static stlora_status open_indexed(stlora_safetensors **out, const char *dir, const char *index,
                                  json_t *map, stlora_error *err)
{
    json_t *names = NULL;
    stlora_safetensors *s = NULL, *opened = NULL;
    STLORA_TRY(shard_names(&names, map, index, err));
    stlora_status status = stlora_alloc(&s, 1, sizeof *s, index, err);
    if (status == STLORA_OK)
        status = stlora_st_finish(&opened, s, add_shards(s, dir, index, names, err), err);
    json_decref(names);
    STLORA_TRY(status);
    status = keep_promises(opened, map, index, err);
    if (status == STLORA_OK)
        *out = opened;
    else
        stlora_safetensors_close(opened);
    return status;
}

static stlora_status open_index(stlora_safetensors **out, const char *dir, const char *index,
                                stlora_error *err)
{
    json_t *root;
    STLORA_TRY(stlora_json_load(&root, index, err));
    json_t *map = json_object_get(root, "weight_map");
    stlora_status status;
    if (!json_is_object(map) || json_object_size(map) == 0)
        status = stlora_fail(err, STLORA_E_FORMAT, "%s: weight_map must be an object with entries, found %s", index,
                             json_is_object(map) ? "an empty one" : stlora_json_type(map));
    else
        status = open_indexed(out, dir, index, map, err);
    json_decref(root);
    return status;
}

static bool ends_with(const char *text, const char *ending)
{
    const size_t length = strlen(text), tail = strlen(ending);
    return length > tail && strcmp(text + length - tail, ending) == 0;
}

/* The last resort: the only *.safetensors there. */
static stlora_status open_only_one(stlora_safetensors **out, const char *dir, stlora_error *err)
{
    DIR *entries = opendir(dir);
    if (!entries) {
        stlora_errno_words words;
        return stlora_fail(err, STLORA_E_IO, "%s: cannot be opened: %s", dir, stlora_errno_text(errno, &words));
    }
    size_t count = 0;
    bool pickled = false;
    char *path = NULL;
    stlora_status status = STLORA_OK;
    for (struct dirent *entry; status == STLORA_OK && (entry = readdir(entries));) {
        pickled = pickled || ends_with(entry->d_name, ".bin") || ends_with(entry->d_name, ".pth");
        if (!ends_with(entry->d_name, ".safetensors") || entry->d_name[0] == '.') continue;
        if (count++ == 0) status = stlora_path_join(&path, dir, entry->d_name, err);
    }
    (void)closedir(entries);
    if (status == STLORA_OK) {
        if (count == 1)
            status = stlora_safetensors_open(out, path, err);
        else if (count > 1)
            status = stlora_fail(err, STLORA_E_FORMAT,
                                 "%s: must hold one *.safetensors file or an index, found %zu files and no index", dir,
                                 count);
        else if (pickled)
            status = stlora_fail(err, STLORA_E_UNSUPPORTED,
                                 "%s: holds PyTorch's own weight files only; convert them to safetensors", dir);
        else
            status = stlora_fail(err, STLORA_E_IO, "%s: must hold model.safetensors or an index, found neither", dir);
    }
    stlora_free(path);
    return status;
}

stlora_status stlora_safetensors_open_model(stlora_safetensors **out, const char *dir, stlora_error *err)
{
    char *single = NULL, *index = NULL;
    stlora_status status = stlora_path_join(&single, dir, "model.safetensors", err);
    if (status == STLORA_OK)
        status = stlora_path_join(&index, dir, "model.safetensors.index.json", err);
    if (status == STLORA_OK) {
        if (stlora_path_exists(single))
            status = stlora_safetensors_open(out, single, err);
        else if (stlora_path_exists(index))
            status = open_index(out, dir, index, err);
        else
            status = open_only_one(out, dir, err);
    }
    stlora_free(single);
    stlora_free(index);
    return status;
}
