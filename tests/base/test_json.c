/* test_json.c: JSON files in and out: every refusal has its status, its place and its sentence. */
#include "support.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/file_map.h"
#include "base/json.h"
#include "base/memory.h"

static void write_text(const char *path, const char *text)
{
    stlora_error err = {0};
    assert_ok(stlora_atomic_write_all(path, text, strlen(text), &err));
}

static void refuses(const char *text, size_t size, const char *sentence)
{
    stlora_error err = {0};
    json_t *value = NULL;
    stlora_status status = stlora_json_parse(&value, text, size, "rows.jsonl", &err);
    assert_int_equal(status, STLORA_E_FORMAT);
    assert_int_equal(err.status, STLORA_E_FORMAT);
    assert_null(value);
    if (strncmp(err.text, sentence, strlen(sentence)) != 0)
        fail_msg("wanted the sentence to begin with <%s>, found <%s>", sentence, err.text);
}

static void refuses_text(const char *text, const char *sentence)
{
    refuses(text, strlen(text), sentence);
}

static void test_parse_refusals(void **state)
{
    (void)state;
    refuses_text("", "rows.jsonl: must be JSON, found nothing");
    refuses_text("   ", "rows.jsonl line 1 column 3: ");
    refuses_text("{\"a\": 1,\n \"a\": 2}", "rows.jsonl line 2 column 4: duplicate object key");
    refuses_text("{\"a\": 1} x", "rows.jsonl line 1 column 10: ");
    refuses_text("{\"a\": }", "rows.jsonl line 1 column 7: ");
    refuses_text("[1, 2", "rows.jsonl line 1 column 5: ");
    refuses_text("[NaN]", "rows.jsonl line 1 column 4: ");
    refuses_text("[1e999]", "rows.jsonl line 1 column 6: real number overflow");
    refuses_text("[99999999999999999999]", "rows.jsonl line 1 column 21: too big integer");
    refuses("[\"a\xff\"]", 6, "rows.jsonl line 1 column 3: unable to decode byte 0xff");
    refuses("[\"\xc0\x80\"]", 6, "rows.jsonl line 1 column ");             /* an overlong NUL */
    refuses("[\"\xed\xa0\x80\"]", 7, "rows.jsonl line 1 column ");         /* a surrogate */
    refuses_text("[\"\\ud800\"]", "rows.jsonl line 1 column ");            /* half a pair */
    refuses("{\"a\\u0000b\": 1}", 15, "rows.jsonl line 1 column ");        /* NUL in a key */
    refuses("[1,\0 2]", 7, "rows.jsonl line 1 column ");
}

static void test_parse_nesting_bomb(void **state)
{
    (void)state;
    enum { DEEP = 1000000 };
    char *bomb = malloc(DEEP);
    assert_non_null(bomb);
    memset(bomb, '[', DEEP);
    refuses(bomb, DEEP, "rows.jsonl line 1 column ");
    for (size_t i = 0; i + 5 <= DEEP; i += 5) memcpy(bomb + i, "{\"a\":", 5);
    refuses(bomb, DEEP, "rows.jsonl line 1 column ");
    free(bomb);
}

static void test_parse_accepts(void **state)
{
    (void)state;
    stlora_error err = {0};
    json_t *value;
    assert_ok(stlora_json_parse(&value, "\"a\\u0000b\"", 10, "w", &err)); /* NUL inside a string stays */
    assert_int_equal(json_string_length(value), 3);
    json_decref(value);
    assert_ok(stlora_json_parse(&value, " 7 ", 3, "w", &err));
    assert_int_equal(json_integer_value(value), 7);
    json_decref(value);
    assert_int_equal(stlora_json_parse(&value, "[", 1, "w", NULL), STLORA_E_FORMAT); /* no err wanted */
}

/* PEFT takes the first pattern that matches: the order of members in the file must survive. */
static void test_objects_keep_file_order(void **state)
{
    (void)state;
    stlora_error err = {0};
    json_t *value, *member;
    char text[4096] = "{", key[32];
    size_t used = 1;
    for (int i = 0; i < 200; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\"k%d\":%d", i ? "," : "",
                                 (i * 77) % 200, i);
    (void)snprintf(text + used, sizeof text - used, "}");
    assert_ok(stlora_json_parse(&value, text, used + 1, "w", &err));
    const char *name;
    int i = 0;
    json_object_foreach(value, name, member)
    {
        (void)snprintf(key, sizeof key, "k%d", (i * 77) % 200);
        assert_string_equal(name, key);
        assert_int_equal(json_integer_value(member), i);
        i++;
    }
    assert_int_equal(i, 200);
    json_decref(value);
}

static void test_load(void **state)
{
    (void)state;
    stlora_error err = {0};
    char path[512], wanted[700];
    const char *dir = temporary_dir();
    (void)snprintf(path, sizeof path, "%s/a.json", dir);
    json_t *value = NULL;
    assert_int_equal(stlora_json_load(&value, path, &err), STLORA_E_IO);
    (void)snprintf(wanted, sizeof wanted, "%s: cannot be opened: No such file or directory", path);
    assert_string_equal(err.text, wanted);
    assert_int_equal(stlora_json_load(&value, dir, &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "found a directory"));
    write_text(path, "");
    assert_int_equal(stlora_json_load(&value, path, &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "found nothing"));
    write_text(path, "{\"a\": [1,\n  2,,]}");
    assert_int_equal(stlora_json_load(&value, path, &err), STLORA_E_FORMAT);
    (void)snprintf(wanted, sizeof wanted, "%s line 2 column 5: ", path);
    assert_memory_equal(err.text, wanted, strlen(wanted));
    assert_null(value);
    /* A file of one gigabyte and one byte (with a hole in it) is refused before it is read. */
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, ((off_t)1 << 30) + 1), 0);
    close(fd);
    assert_int_equal(stlora_json_load(&value, path, &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "must be at most 1073741824 bytes, found 1073741825"));
    write_text(path, "{\"a\": 1.5}");
    assert_ok(stlora_json_load(&value, path, &err));
    assert_true(json_real_value(json_object_get(value, "a")) == 1.5);
    json_decref(value);
    assert_ok(stlora_remove_tree(dir, &err));
}

static void test_load_from_a_pipe(void **state)
{
    (void)state;
    stlora_error err = {0};
    int ends[2];
    char path[64];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "[1, 2]\n", 7), 7);
    close(ends[1]);
    (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    json_t *value;
    assert_ok(stlora_json_load(&value, path, &err));
    assert_int_equal(json_array_size(value), 2);
    json_decref(value);
    close(ends[0]);
}

static void test_save(void **state)
{
    (void)state;
    stlora_error err = {0};
    char path[512];
    const char *dir = temporary_dir();
    (void)snprintf(path, sizeof path, "%s/a.json", dir);
    json_t *value = json_pack("{s:f, s:[i, f, n, b, s], s:{}, s:[], s:I, s:{s:i, s:f}}", "r", 0.1, "list", -1,
                              1e-5, 1, "\xc3\xa9 \"quoted\"\n", "empty", "none", "big",
                              (json_int_t)INT64_MAX, "A", "z", 1, "a", 5e-324);
    assert_non_null(value);
    assert_ok(stlora_json_save(value, path, &err));
    char *text;
    size_t size;
    assert_ok(stlora_file_read(&text, &size, path, 10000, &err));
    assert_string_equal(text, "{\n"
                              "  \"A\": {\n    \"a\": 5e-324,\n    \"z\": 1\n  },\n"
                              "  \"big\": 9223372036854775807,\n"
                              "  \"empty\": {},\n"
                              "  \"list\": [\n    -1,\n    1e-5,\n    null,\n    true,\n"
                              "    \"\xc3\xa9 \\\"quoted\\\"\\n\"\n  ],\n"
                              "  \"none\": [],\n"
                              "  \"r\": 0.1\n}\n");
    stlora_free(text);
    json_t *again;
    assert_ok(stlora_json_load(&again, path, &err));
    assert_true(json_equal(value, again));
    json_decref(again);
    json_decref(value);
    assert_int_equal(stlora_json_save(NULL, path, &err), STLORA_E_NOMEM);
    json_t *real = json_real(0.1 + 0.2);
    assert_int_equal(stlora_json_save(real, "/dev/full", &err), STLORA_E_IO);
    assert_string_equal(err.text, "/dev/full: cannot be written: No space left on device");
    json_decref(real);
    assert_ok(stlora_remove_tree(dir, &err));
}

static void test_save_in_order(void **state)
{
    (void)state;
    stlora_error err = {0};
    char path[512];
    const char *dir = temporary_dir();
    (void)snprintf(path, sizeof path, "%s/a.json", dir);
    json_t *value = json_pack("{s:i, s:i, s:{s:i, s:i}}", "z", 1, "a", 2, "m", "y", 3, "b", 4);
    char *text;
    size_t size;
    assert_ok(stlora_json_save_in_order(value, path, &err));
    assert_ok(stlora_file_read(&text, &size, path, 10000, &err));
    assert_string_equal(text, "{\n  \"z\": 1,\n  \"a\": 2,\n  \"m\": {\n    \"y\": 3,\n    \"b\": 4\n  }\n}\n");
    stlora_free(text);
    json_decref(value);
    assert_ok(stlora_remove_tree(dir, &err));
}

static void test_save_reads_back_the_same(void **state)
{
    (void)state;
    stlora_error err = {0};
    char path[512];
    const char *dir = temporary_dir();
    (void)snprintf(path, sizeof path, "%s/a.json", dir);
    const double hard[] = {0.1 + 0.2, 1.0 / 3, 1e22, 1e23, 123456789012345680.0, -0.0, 2.2250738585072014e-308,
                           1.7976931348623157e308, 5e-4, 16.0};
    json_t *value = json_array();
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) json_array_append_new(value, json_real(hard[i]));
    assert_ok(stlora_json_save(value, path, &err));
    json_t *again;
    assert_ok(stlora_json_load(&again, path, &err));
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        double read = json_real_value(json_array_get(again, i));
        assert_memory_equal(&read, &hard[i], sizeof read);
    }
    json_decref(again);
    json_decref(value);
    assert_ok(stlora_remove_tree(dir, &err));
}

static void test_types(void **state)
{
    (void)state;
    assert_string_equal(stlora_json_type(NULL), "nothing");
    const char *texts[] = {"{}", "[]", "\"\"", "1", "1.0", "true", "false", "null"};
    const char *names[] = {"object", "array", "string", "integer", "real", "true", "false", "null"};
    for (size_t i = 0; i < 8; i++) {
        stlora_error err = {0};
        json_t *value;
        assert_ok(stlora_json_parse(&value, texts[i], strlen(texts[i]), "w", &err));
        assert_string_equal(stlora_json_type(value), names[i]);
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_refusals),
        cmocka_unit_test(test_parse_nesting_bomb),
        cmocka_unit_test(test_parse_accepts),
        cmocka_unit_test(test_objects_keep_file_order),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_load_from_a_pipe),
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_save_in_order),
        cmocka_unit_test(test_save_reads_back_the_same),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
