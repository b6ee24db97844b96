/* line_editor.h: a line from a person at a terminal, edited, with the lines before it at hand: libedit. What is typed shows on stderr, so that
 * stdout has results alone. */
#ifndef CLI_LINE_EDITOR_H
#define CLI_LINE_EDITOR_H

#include <signal.h>
#include <stddef.h>

#include "stlora/status.h"

struct line_editor;

enum line_kind {
    LINE_TEXT,
    LINE_INTERRUPTED, /* by SIGINT: what was typed is gone */
    LINE_END,         /* of input */
};

/* line_editor_open: of stdin, which is a terminal. prompt stands before each line, borrowed. interrupted: set by SIGINT (signals.h), cleared here.
 * Pair with _close. STLORA_E_IO: the terminal cannot be edited on. */
STLORA_NODISCARD stlora_status line_editor_open(struct line_editor **out, const char *prompt,
                                                volatile sig_atomic_t *interrupted, stlora_error *err);
void line_editor_close(struct line_editor *editor);

/* line_editor_read: the next line without its line break, borrowed until the next call. */
enum line_kind line_editor_read(struct line_editor *editor, const char **text, size_t *length);

#endif
