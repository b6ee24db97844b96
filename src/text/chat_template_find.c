/* chat_template_find.c: where a model's chat template is: a file of its own, tokenizer_config.json, or built in.
 * Guarded by tests/text/test_chat_template.c. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file_map.h"
#include "base/memory.h"
#include "text/chat_template.h"
#include "text/chat_template_known.h"
#include "text/json_place.h"

enum { LARGEST_TEMPLATE = 16 << 20, PATH_SIZE = 4096 }; /* bytes */

static bool is_file(const char *path)
{
    struct stat what;
    return stat(path, &what) == 0 && !S_ISDIR(what.st_mode);
}

static bool is_there(const char *path)
{
    struct stat what;
    return stat(path, &what) == 0;
}

static stlora_status compile_file(stlora_chat_template **out, const char *path, stlora_error *err)
{
    char *bytes;
    size_t size;
    STLORA_TRY(stlora_file_read(&bytes, &size, path, LARGEST_TEMPLATE, err));
    stlora_status status = stlora_chat_template_compile(out, path, bytes, size, err);
    stlora_free(bytes);
    return status;
}

static const char *path_in(char *buffer, const char *dir, const char *name)
{
    (void)snprintf(buffer, PATH_SIZE, "%s/%s", dir, name);
    return buffer;
}

/* The template that a list of {"name", "template"} has under this name; NULL = "default", or else the first. */
static const json_t *named_in(const json_t *list, const char *name)
{
    const json_t *first = NULL;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *text = json_object_get(entry, "template");
        const char *own = json_string_value(json_object_get(entry, "name"));
        if (!json_is_string(text)) continue;
        if (!first) first = text;
        if (own && strcmp(own, name ? name : "default") == 0) return text;
    }
    return name ? NULL : first;
}

/* The config's template under this name (NULL = its default), *out untouched where it has none. */
static stlora_status compile_config(stlora_chat_template **out, const char *path, const char *name, stlora_error *err)
{
    json_t *root;
    char place[PATH_SIZE + 32];
    if (!is_file(path)) return STLORA_OK;
    STLORA_TRY(stlora_config_json_load(&root, path, err));
    stlora_status status = STLORA_OK;
    const json_t *found = json_object_get(root, "chat_template");
    bool list = json_is_array(found);
    (void)snprintf(place, sizeof place, "%s: chat_template", path);
    if (found && !list && !json_is_string(found) && !json_is_null(found))
        status =
            stlora_fail(err, STLORA_E_FORMAT, "%s: wanted a string or a list of {\"name\", \"template\"}, found %s",
                        place, stlora_json_type(found));
    if (list)
        found = named_in(found, name);
    else if (name)
        found = NULL;
    if (status == STLORA_OK && json_is_string(found))
        status = stlora_chat_template_compile(out, place, json_string_value(found), json_string_length(found), err);
    json_decref(root);
    return status;
}

static stlora_status compile_known(stlora_chat_template **out, const char *name, stlora_error *err)
{
    char place[128];
    for (size_t i = 0; i < stlora_known_template_count; i++) {
        const stlora_known_template *known = &stlora_known_templates[i];
        if (strcmp(known->name, name) != 0) continue;
        (void)snprintf(place, sizeof place, "the built-in template %s", name);
        return stlora_chat_template_compile(out, place, known->text, strlen(known->text), err);
    }
    return STLORA_OK;
}

static stlora_status no_such(const char *choice, stlora_error *err)
{
    char names[256] = "";
    for (size_t i = 0, used = 0; i < stlora_known_template_count; i++)
        used +=
            (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", stlora_known_templates[i].name);
    return stlora_fail(err, STLORA_E_USAGE,
                       "the chat template '%s' is no file, is not in the model's directory, and is not built in (%s)",
                       choice, names);
}

stlora_status stlora_chat_template_find(stlora_chat_template **out, const char *dir, const char *choice,
                                        stlora_error *err)
{
    char path[PATH_SIZE];
    stlora_chat_template *found = NULL;
    stlora_status status = STLORA_OK;
    if (choice && is_file(choice)) return compile_file(out, choice, err);
    if (!choice && is_file(path_in(path, dir, "chat_template.jinja"))) return compile_file(out, path, err);
    if (dir) status = compile_config(&found, path_in(path, dir, "tokenizer_config.json"), choice, err);
    if (status == STLORA_OK && !found && choice) status = compile_known(&found, choice, err);
    if (status != STLORA_OK) return status;
    if (!found && choice) return no_such(choice, err);
    if (!found && !is_there(dir)) return stlora_fail(err, STLORA_E_IO, "%s: there is no such directory", dir);
    if (!found)
        return stlora_fail(
            err, STLORA_E_UNSUPPORTED,
            "%s has no chat template, neither chat_template.jinja nor chat_template in tokenizer_config.json; "
            "--chat-template gives one",
            dir);
    *out = found;
    return STLORA_OK;
}

/* ---- special tokens ---- */

/* A token's text: a string, or an object with "content". */
static const char *token_text(const json_t *value)
{
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

/* Adds the file's tokens that are not known yet. */
static stlora_status add_tokens(json_t *tokens, const char *path, stlora_error *err)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    json_t *root;
    if (!is_file(path)) return STLORA_OK;
    STLORA_TRY(stlora_config_json_load(&root, path, err));
    stlora_status status = STLORA_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == STLORA_OK; i++) {
        const char *text = token_text(json_object_get(root, names[i]));
        if (text && !json_object_get(tokens, names[i]) && json_object_set_new(tokens, names[i], json_string(text)) != 0)
            status = stlora_fail(err, STLORA_E_NOMEM, "no memory for the tokens of %s", path);
    }
    json_decref(root);
    return status;
}

stlora_status stlora_chat_special_tokens(json_t **out, const char *dir, stlora_error *err)
{
    char path[PATH_SIZE];
    json_t *tokens = json_object();
    if (!tokens) return stlora_fail(err, STLORA_E_NOMEM, "no memory for special tokens");
    stlora_status status = add_tokens(tokens, path_in(path, dir, "tokenizer_config.json"), err);
    if (status == STLORA_OK) status = add_tokens(tokens, path_in(path, dir, "special_tokens_map.json"), err);
    if (status != STLORA_OK) {
        json_decref(tokens);
        return status;
    }
    *out = tokens;
    return STLORA_OK;
}
