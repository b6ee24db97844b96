/* scratch.h: a directory of its own for each test of this room, and the files in it. */
#ifndef STLORA_TESTS_FORMATS_SCRATCH_H
#define STLORA_TESTS_FORMATS_SCRATCH_H

#include "support.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "base/atomic_file.h"

static char scratch[256];

static inline int make_scratch(void **state)
{
    (void)state;
    (void)snprintf(scratch, sizeof scratch, "%s", temporary_dir());
    return 0;
}

static inline int remove_scratch(void **state)
{
    (void)state;
    return stlora_remove_tree(scratch, NULL) == STLORA_OK ? 0 : -1;
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, make_scratch, remove_scratch)

/* "<scratch>/<name>", in one of four buffers in turn. */
static inline const char *at(const char *name)
{
    static char paths[4][600];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

static inline int entries(const char *dir)
{
    DIR *open_dir = opendir(dir);
    assert_non_null(open_dir);
    int count = -2; /* "." and ".." */
    while (readdir(open_dir)) count++;
    closedir(open_dir);
    return count;
}

static inline void put_text(const char *path, const char *text)
{
    stlora_error err = {0};
    assert_ok(stlora_atomic_write_all(path, text, strlen(text), &err));
}

/* The failure must have this status and a sentence that begins with `path` (NULL: any) and holds `words`. */
static inline void assert_refusal(stlora_status got, const stlora_error *err, stlora_status wanted, const char *path,
                                  const char *words)
{
    if (got != wanted || err->status != wanted || (path && strncmp(err->text, path, strlen(path)) != 0) ||
        !strstr(err->text, words))
        fail_msg("wanted %s with <%s>, found %s: %s", stlora_status_name(wanted), words, stlora_status_name(got),
                 err->text);
}

#endif
