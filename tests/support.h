/* support.h: what the cmocka programs share: finding ../shared, and temporary directories. */
#ifndef STLORA_TESTS_SUPPORT_H
#define STLORA_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "stlora/status.h"

/* Asserts success and shows the sentence otherwise. Use a local `stlora_error err = {0};`. */
#define assert_ok(expr)                                                                            \
    do {                                                                                           \
        stlora_status got_ = (expr);                                                               \
        if (got_ != STLORA_OK) fail_msg("%s: %s: %s", #expr, stlora_status_name(got_), err.text);  \
    } while (0)

/* Writes "<shared>/<relative>" into a static buffer; skips the running test where it is absent. */
static inline const char *shared_path(const char *relative)
{
    static char path[4096];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", STLORA_SHARED, relative);
    if (stat(path, &st) != 0) {
        print_message("skipped: %s is not here\n", path);
        skip();
    }
    return path;
}

/* A fresh directory under the system's temporary folder; the caller removes it. */
static inline const char *temporary_dir(void)
{
    static char path[256];
    const char *root = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/stlora-test-XXXXXX", root ? root : "/tmp");
    if (!mkdtemp(path)) fail_msg("mkdtemp %s failed", path);
    return path;
}

#endif
