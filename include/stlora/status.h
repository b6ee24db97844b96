/* status.h: every way in which the library can fail, as pinned numbers, and the error sentence.
 *
 * A function that can fail returns stlora_status, leaves its out-parameters untouched on failure and, when
 * given a stlora_error, fills it with one sentence: where, what was wanted, what was found. The library
 * never prints and never exits. Guarded by tests/base/test_error.c.
 */
#ifndef STLORA_STATUS_H
#define STLORA_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#    define STLORA_API        __attribute__((visibility("default")))
#    define STLORA_NODISCARD  __attribute__((warn_unused_result))
#    define STLORA_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#    define STLORA_API
#    define STLORA_NODISCARD
#    define STLORA_PRINTF(f, a)
#endif

/* X(enumerator, number, exit code of the command, what it means). The numbers are pinned. */
#define STLORA_STATUSES(X)                                                                         \
    X(OK, 0, 0, "success")                                                                         \
    X(E_IO, 1, 1, "the system refused: file, directory, pipe, device")                             \
    X(E_NOMEM, 2, 1, "not enough memory")                                                          \
    X(E_USAGE, 3, 2, "an argument is wrong or contradicts another")                                \
    X(E_FORMAT, 4, 3, "an input file is malformed or contradicts another")                         \
    X(E_NONFINITE, 5, 4, "a number became infinite or NaN")                                        \
    X(E_UNSUPPORTED, 6, 5, "well-formed, but not supported here")                                  \
    X(E_INTERRUPTED, 7, 130, "stopped by request; the state was saved")

typedef enum stlora_status {
#define STLORA_STATUS_ENUM(name, number, exit_code, text) STLORA_##name = number,
    STLORA_STATUSES(STLORA_STATUS_ENUM)
#undef STLORA_STATUS_ENUM
} stlora_status;

/* One sentence about the last failure; the caller owns it, NULL is allowed wherever one is taken. */
typedef struct stlora_error {
    stlora_status status;
    char text[1024]; /* UTF-8, NUL-terminated, no line break, no full stop at the end */
} stlora_error;

/* stlora_status_name: "STLORA_E_IO" and so on; a static string, never NULL. Since 0.1. */
STLORA_API const char *stlora_status_name(stlora_status status);

/* stlora_status_text: what the status means, as in STLORA_STATUSES; static, never NULL. Since 0.1. */
STLORA_API const char *stlora_status_text(stlora_status status);

/* stlora_status_exit_code: the command's exit code for a status: 0, 1, 2, 3, 4, 5 or 130. Since 0.1. */
STLORA_API int stlora_status_exit_code(stlora_status status);

#ifdef __cplusplus
}
#endif
#endif
