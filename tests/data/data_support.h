/* data_support.h: what the programs of tests/data share: files of given bytes in a directory of the program's own. */
#ifndef STLORA_TESTS_DATA_SUPPORT_H
#define STLORA_TESTS_DATA_SUPPORT_H

#include <string.h>
#include <unistd.h>

#include "data/rows.h"
#include "support.h"

static inline const char *data_dir(void)
{
    static char dir[256];
    if (!dir[0]) (void)snprintf(dir, sizeof dir, "%s", temporary_dir());
    return dir;
}

/* "<data_dir>/name" in one of four static buffers in turn. */
static inline const char *data_path(const char *name)
{
    static char paths[4][512];
    static unsigned slot;
    char *path = paths[slot++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", data_dir(), name);
    return path;
}

static inline const char *data_file(const char *name, const void *bytes, size_t size)
{
    const char *path = data_path(name);
    (void)unlink(path); /* a new file costs less than an old one cut to nothing, which some file systems flush */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static inline const char *rows_file(const char *text)
{
    return data_file("rows.jsonl", text, strlen(text));
}

/* The group teardown of every program here. */
static inline int remove_data_files(void **state)
{
    (void)state;
    static const char *const names[] = {"rows.jsonl", "more.jsonl", "rows.json", "tokenizer.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)unlink(data_path(names[i]));
    return rmdir(data_dir());
}

/* Asserts that the sentence is "<path><rest>". */
static inline void expect_sentence(const stlora_error *err, const char *path, const char *rest)
{
    char wanted[2048];
    (void)snprintf(wanted, sizeof wanted, "%s%s", path, rest);
    assert_string_equal(err->text, wanted);
}

#endif
