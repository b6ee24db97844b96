/* jinja_value.c: making values: lists, dicts with Python's order and key equality, texts, JSON. See jinja_value.h. */
#include "text/jinja_value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "text/jinja_node.h"
#include "text/utf8.h"

enum { DEPTH_MAX = 1500, SMALL_DICT = 8 };

/* ---- failing ---- */

static bool fail_with(stlora_jrun *run, stlora_status status, const char *format, va_list list)
{
    char sentence[sizeof run->err->text];
    if (run->status != STLORA_OK) return false; // the first reason counts
    (void)vsnprintf(sentence, sizeof sentence, format, list);
    run->status = status;
    if (run->at)
        (void)stlora_fail(run->err, status, "%s: line %u, column %u: %s", run->name, run->at->line, run->at->column,
                          sentence);
    else
        (void)stlora_fail(run->err, status, "%s: %s", run->name, sentence);
    return false;
}

bool stlora_jfail(stlora_jrun *run, stlora_status status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    (void)fail_with(run, status, format, list);
    va_end(list);
    return false;
}

bool stlora_jfault(stlora_jrun *run, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    (void)fail_with(run, STLORA_E_FORMAT, format, list);
    va_end(list);
    return false;
}

bool stlora_jcharge(stlora_jrun *run, size_t steps)
{
    if (run->status != STLORA_OK) return false;
    if (steps > run->steps) return stlora_jfault(run, "the template takes too many steps; it may never end");
    run->steps -= steps;
    return true;
}

bool stlora_jcharge_points(stlora_jrun *run, size_t bytes)
{
    return stlora_jcharge(run, bytes / 2);
}

bool stlora_jcharge_put(stlora_jrun *run, stlora_jvalue value)
{
    enum { SCALAR = 2, CONTAINER = 8, REAL = 64 }; // the fewest digits of a number are looked for
    return stlora_jcharge(run, value.kind == STLORA_J_FLOAT ? REAL : value.kind >= STLORA_J_LIST ? CONTAINER : SCALAR);
}

bool stlora_jenter(stlora_jrun *run)
{
    if (run->depth >= DEPTH_MAX) return stlora_jfault(run, "more than %d levels within one another", DEPTH_MAX);
    run->depth++;
    return true;
}

void *stlora_jtake(stlora_jrun *run, size_t count, size_t size)
{
    void *piece = NULL;
    if (count <= run->pool.limit / size) piece = stlora_jpool_take(&run->pool, count * size);
    if (piece) return stlora_jcharge(run, 1 + count * size / 64) ? piece : NULL;
    if (count > run->pool.limit / size || count * size > run->pool.limit - run->pool.taken)
        (void)stlora_jfault(run, "the values of the template need more than %zu MiB", run->pool.limit >> 20);
    else
        (void)stlora_jfail(run, STLORA_E_NOMEM, "no memory for a value of %zu bytes", count * size);
    return NULL;
}

bool stlora_jgrow(stlora_jrun *run, void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) return true;
    size_t room = *capacity ? *capacity * 2 : 4;
    void *old, *larger = stlora_jtake(run, room, size);
    if (!larger) return false;
    memcpy(&old, items, sizeof old);
    if (count) memcpy(larger, old, count * size);
    memcpy(items, &larger, sizeof larger);
    *capacity = room;
    return true;
}

/* ---- lists ---- */

bool stlora_jlist_make(stlora_jrun *run, stlora_jkind kind, size_t count, stlora_jvalue *out)
{
    stlora_jlist *list = stlora_jtake(run, 1, sizeof *list);
    if (!list) return false;
    if (count && !(list->items = stlora_jtake(run, count, sizeof *list->items))) return false;
    list->capacity = count;
    *out = (stlora_jvalue){.kind = kind, .as.list = list};
    return true;
}

bool stlora_jlist_push(stlora_jrun *run, stlora_jlist *list, stlora_jvalue item)
{
    if (!stlora_jgrow(run, &list->items, list->count, &list->capacity, sizeof *list->items)) return false;
    list->items[list->count++] = item;
    return true;
}

bool stlora_jpair(stlora_jrun *run, stlora_jvalue first, stlora_jvalue second, stlora_jvalue *out)
{
    return stlora_jlist_make(run, STLORA_J_TUPLE, 2, out) && stlora_jlist_push(run, out->as.list, first) &&
           stlora_jlist_push(run, out->as.list, second);
}

/* ---- dicts ---- */

bool stlora_jdict_make(stlora_jrun *run, stlora_jkind kind, size_t count, stlora_jvalue *out)
{
    stlora_jdict *dict = stlora_jtake(run, 1, sizeof *dict);
    if (!dict) return false;
    if (count && (!(dict->keys = stlora_jtake(run, count, sizeof *dict->keys)) ||
                  !(dict->values = stlora_jtake(run, count, sizeof *dict->values))))
        return false;
    dict->capacity = count;
    *out = (stlora_jvalue){.kind = kind, .as.dict = dict};
    return true;
}

static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 33;
    hash *= UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 29;
}

static uint64_t hash_text(stlora_jtext text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text.length; i++)
        hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001b3);
    return mix(hash);
}

/* Equal keys have equal hashes: 1, 1.0 and true are one key. */
static bool hash_key(stlora_jrun *run, stlora_jvalue key, uint64_t *hash)
{
    int64_t integer;
    size_t size = key.kind == STLORA_J_STRING ? key.as.text.length / 16 : key.kind == STLORA_J_TUPLE ? key.as.list->count : 0;
    if (!stlora_jcharge(run, size)) return false;
    if (key.kind == STLORA_J_STRING) {
        *hash = hash_text(key.as.text);
    } else if (stlora_jis_integer(key, &integer)) {
        *hash = mix((uint64_t)integer);
    } else if (key.kind == STLORA_J_FLOAT) {
        double real = key.as.real;
        bool whole = real >= -9e18 && real <= 9e18 && floor(real) == real;
        uint64_t bits;
        memcpy(&bits, &real, sizeof bits);
        *hash = whole ? mix((uint64_t)(int64_t)real) : mix(bits);
    } else if (key.kind == STLORA_J_TUPLE) {
        uint64_t sum = 17;
        if (!stlora_jenter(run)) return false;
        for (size_t i = 0; i < key.as.list->count; i++) {
            uint64_t part;
            if (!hash_key(run, key.as.list->items[i], &part)) return false;
            sum = mix(sum * 31 + part);
        }
        run->depth--;
        *hash = sum;
    } else if (key.kind == STLORA_J_LIST || key.kind == STLORA_J_DICT || key.kind == STLORA_J_VIEW) {
        return stlora_jfault(run, "unhashable type: '%s'", stlora_jtype(key));
    } else {
        *hash = mix(key.kind);
    }
    return true;
}

/* The place of key, or dict->count; *slot where its number is, or would be, among the slots. */
static bool find_place(stlora_jrun *run, const stlora_jdict *dict, stlora_jvalue key, size_t *place, size_t *slot)
{
    uint64_t hash;
    bool same = false;
    *place = dict->count;
    if (!hash_key(run, key, &hash)) return false;
    if (!dict->slots) {
        for (size_t i = 0; i < dict->count && !same; i++) {
            if (!stlora_jequal(run, dict->keys[i], key, &same)) return false;
            if (same) *place = i;
        }
        return true;
    }
    for (size_t at = (size_t)hash & (dict->slot_count - 1);; at = (at + 1) & (dict->slot_count - 1)) {
        *slot = at;
        if (!dict->slots[at]) return true;
        if (!stlora_jcharge(run, 1) || !stlora_jequal(run, dict->keys[dict->slots[at] - 1], key, &same)) return false;
        if (same) {
            *place = dict->slots[at] - 1;
            return true;
        }
    }
}

static bool grow_slots(stlora_jrun *run, stlora_jdict *dict)
{
    size_t count = dict->slot_count ? dict->slot_count * 2 : 4 * SMALL_DICT;
    uint32_t *slots = stlora_jtake(run, count, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < dict->count; i++) {
        uint64_t hash;
        if (!hash_key(run, dict->keys[i], &hash)) return false;
        size_t at = (size_t)hash & (count - 1);
        while (slots[at])
            at = (at + 1) & (count - 1);
        slots[at] = (uint32_t)i + 1;
    }
    dict->slots = slots;
    dict->slot_count = count;
    return true;
}

bool stlora_jdict_set(stlora_jrun *run, stlora_jdict *dict, stlora_jvalue key, stlora_jvalue value)
{
    size_t place, slot = 0;
    if (dict->count >= SMALL_DICT && 2 * (dict->count + 1) > dict->slot_count && !grow_slots(run, dict)) return false;
    if (!find_place(run, dict, key, &place, &slot)) return false;
    if (place < dict->count) {
        dict->values[place] = value;
        return true;
    }
    size_t room = dict->capacity;
    if (!stlora_jgrow(run, &dict->keys, dict->count, &room, sizeof *dict->keys) ||
        !stlora_jgrow(run, &dict->values, dict->count, &dict->capacity, sizeof *dict->values))
        return false;
    dict->keys[dict->count] = key;
    dict->values[dict->count++] = value;
    if (dict->slots) dict->slots[slot] = (uint32_t)dict->count;
    return true;
}

bool stlora_jdict_get(stlora_jrun *run, const stlora_jdict *dict, stlora_jvalue key, const stlora_jvalue **found)
{
    size_t place, slot;
    if (!find_place(run, dict, key, &place, &slot)) return false;
    *found = place < dict->count ? &dict->values[place] : NULL;
    return true;
}

const stlora_jvalue *stlora_jdict_find(const stlora_jdict *dict, stlora_jtext key)
{
    size_t at = dict->slots ? (size_t)hash_text(key) & (dict->slot_count - 1) : 0;
    for (;; at++) {
        if (dict->slots) at &= dict->slot_count - 1;
        if (dict->slots ? !dict->slots[at] : at == dict->count) return NULL;
        size_t place = dict->slots ? dict->slots[at] - 1 : at;
        const stlora_jvalue *have = &dict->keys[place];
        if (have->kind == STLORA_J_STRING && have->as.text.length == key.length &&
            memcmp(have->as.text.data, key.data, key.length) == 0)
            return &dict->values[place];
    }
}

/* ---- JSON ---- */

static bool from_object(stlora_jrun *run, const json_t *json, stlora_jvalue *out)
{
    if (!stlora_jdict_make(run, STLORA_J_DICT, json_object_size(json), out)) return false;
    json_t *object = (json_t *)(uintptr_t)json; // jansson's iterators are not const; nothing is changed
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        stlora_jvalue value;
        if (!stlora_jfrom_json(run, json_object_iter_value(at), &value) ||
            !stlora_jdict_set(run, out->as.dict, stlora_jwords(json_object_iter_key(at)), value))
            return false;
    }
    return true;
}

bool stlora_jfrom_json(stlora_jrun *run, const json_t *json, stlora_jvalue *out)
{
    if (!stlora_jenter(run)) return false;
    if (json_is_string(json)) {
        *out = stlora_jstring(json_string_value(json), json_string_length(json));
    } else if (json_is_integer(json)) {
        *out = stlora_jint(json_integer_value(json));
    } else if (json_is_real(json)) {
        *out = stlora_jreal(json_real_value(json));
    } else if (json_is_boolean(json)) {
        *out = stlora_jbool(json_is_true(json));
    } else if (json_is_array(json)) {
        if (!stlora_jlist_make(run, STLORA_J_LIST, json_array_size(json), out)) return false;
        for (size_t i = 0; i < json_array_size(json); i++) {
            stlora_jvalue item;
            if (!stlora_jfrom_json(run, json_array_get(json, i), &item) || !stlora_jlist_push(run, out->as.list, item))
                return false;
        }
    } else if (json_is_object(json)) {
        if (!from_object(run, json, out)) return false;
    } else {
        *out = stlora_jnone();
    }
    run->depth--;
    return true;
}

/* ---- texts ---- */

bool stlora_jput(stlora_jbuilder *builder, const char *data, size_t length)
{
    if (length > builder->capacity - builder->count) {
        size_t capacity = builder->capacity ? builder->capacity : 64;
        while (capacity - builder->count < length && capacity <= SIZE_MAX / 4)
            capacity *= 2;
        char *larger = stlora_jtake(builder->run, capacity, 1);
        if (!larger) return false;
        if (builder->count) memcpy(larger, builder->data, builder->count);
        builder->data = larger;
        builder->capacity = capacity;
    }
    if (length) memcpy(builder->data + builder->count, data, length);
    builder->count += length;
    return true;
}

bool stlora_jput_words(stlora_jbuilder *builder, const char *words)
{
    return stlora_jput(builder, words, strlen(words));
}

bool stlora_jput_times(stlora_jbuilder *builder, stlora_jtext text, size_t times)
{
    if (text.length == 0) return true;
    if (times > builder->run->pool.limit / text.length)
        return stlora_jfault(builder->run, "a text of %zu times %zu bytes", times, text.length);
    for (size_t i = 0; i < times; i++)
        if (!stlora_jput(builder, text.data, text.length)) return false;
    return true;
}

bool stlora_jput_point(stlora_jbuilder *builder, uint32_t point)
{
    char bytes[4];
    return stlora_jput(builder, bytes, stlora_utf8_write(point, bytes));
}

/* ---- what a value is ---- */

const char *stlora_jtype(stlora_jvalue value)
{
    static const char *const names[] = {"nothing",   "Undefined", "NoneType",    "bool",  "int",      "float",
                                        "str",       "list",      "tuple",       "range", "dict",     "dict_items",
                                        "generator", "Namespace", "LoopContext", "Macro", "function", "method"};
    if (value.kind == STLORA_J_VIEW) return value.as.list->title;
    return names[value.kind];
}

bool stlora_jtruth(stlora_jvalue value)
{
    if (value.kind == STLORA_J_UNDEFINED || value.kind == STLORA_J_NONE) return false;
    if (value.kind == STLORA_J_BOOL) return value.as.truth;
    if (value.kind == STLORA_J_INT) return value.as.integer != 0;
    if (value.kind == STLORA_J_FLOAT) return value.as.real != 0; // NaN is true
    if (value.kind == STLORA_J_STRING) return value.as.text.length > 0;
    if (value.kind == STLORA_J_DICT) return value.as.dict->count > 0;
    if (value.kind == STLORA_J_LIST || value.kind == STLORA_J_TUPLE || value.kind == STLORA_J_RANGE ||
        value.kind == STLORA_J_VIEW)
        return value.as.list->count > 0;
    return true;
}

bool stlora_jis_integer(stlora_jvalue value, int64_t *out)
{
    if (value.kind != STLORA_J_INT && value.kind != STLORA_J_BOOL) return false;
    *out = value.kind == STLORA_J_INT ? value.as.integer : value.as.truth;
    return true;
}

bool stlora_jis_number(stlora_jvalue value)
{
    return value.kind == STLORA_J_INT || value.kind == STLORA_J_BOOL || value.kind == STLORA_J_FLOAT;
}
