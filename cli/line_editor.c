/* line_editor.c: see line_editor.h. Test: tests/cli/test_chat.py. */
#include "line_editor.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>
#include <wchar.h>

#include "output.h"

enum { LINES_KEPT = 1000 };

struct line_editor {
    EditLine *edit;
    History *history;
    const char *prompt;
    volatile sig_atomic_t *interrupted;
    sigset_t waiting; // blocked signals while it waits for a key: SIGINT is not among them
};

static struct line_editor *editor_of(EditLine *edit)
{
    void *data = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &data);
    return data;
}

static char *prompt_of(EditLine *edit)
{
    return (char *)(uintptr_t)editor_of(edit)->prompt; // libedit only reads it
}

/* A character of the terminal: 1, 0 at the end, -1 after SIGINT, at which libedit's own reader would go on. SIGINT comes while it waits and at no
 * other moment, so that none is missed. */
static int read_character(EditLine *edit, wchar_t *out)
{
    const struct line_editor *editor = editor_of(edit);
    mbstate_t state = {0};
    for (;;) {
        char byte;
        fd_set input;
        FD_ZERO(&input);
        FD_SET(STDIN_FILENO, &input);
        if (pselect(STDIN_FILENO + 1, &input, NULL, NULL, NULL, &editor->waiting) < 0) {
            if (errno == EINTR && !*editor->interrupted) continue; // another window size
            return -1;
        }
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got <= 0) return (int)got;
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-1)
            memset(&state, 0, sizeof state); // no character: left out
        else if (used != (size_t)-2)
            return 1;
    }
}

stlora_status line_editor_open(struct line_editor **out, const char *prompt, volatile sig_atomic_t *interrupted,
                               stlora_error *err)
{
    struct line_editor *editor = calloc(1, sizeof *editor);
    HistEvent event;
    if (!editor) return refuse(err, STLORA_E_NOMEM, "no memory for a line");
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) (void)setlocale(LC_CTYPE, "C.UTF-8"); // models speak UTF-8
    *editor = (struct line_editor){.prompt = prompt, .interrupted = interrupted};
    editor->edit = el_init("stable-lora", stdin, stderr, stderr);
    editor->history = history_init();
    if (!editor->edit || !editor->history) {
        line_editor_close(editor);
        return refuse(err, STLORA_E_IO, "standard input: lines cannot be edited on this terminal");
    }
    (void)history(editor->history, &event, H_SETSIZE, LINES_KEPT);
    (void)history(editor->history, &event, H_SETUNIQUE, 1);
    (void)el_set(editor->edit, EL_CLIENTDATA, editor);
    (void)el_set(editor->edit, EL_PROMPT, prompt_of);
    (void)el_set(editor->edit, EL_EDITOR, "emacs");
    (void)el_set(editor->edit, EL_SIGNAL, 1); // the terminal is as it was whenever a signal comes
    (void)el_set(editor->edit, EL_HIST, history, editor->history);
    (void)el_set(editor->edit, EL_GETCFN, read_character);
    (void)el_source(editor->edit, NULL); // the user's own keys
    *out = editor;
    return STLORA_OK;
}

void line_editor_close(struct line_editor *editor)
{
    if (editor->edit) el_end(editor->edit);
    if (editor->history) history_end(editor->history);
    free(editor);
}

enum line_kind line_editor_read(struct line_editor *editor, const char **text, size_t *length)
{
    int count = 0;
    HistEvent event;
    sigset_t interrupt;
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, SIGINT);
    *editor->interrupted = 0;
    (void)sigprocmask(SIG_BLOCK, &interrupt, &editor->waiting);
    const char *line = el_gets(editor->edit, &count);
    (void)sigprocmask(SIG_SETMASK, &editor->waiting, NULL);
    if (*editor->interrupted) {
        *editor->interrupted = 0;
        (void)fputs("^C\n", stderr);
        return LINE_INTERRUPTED;
    }
    if (!line || count <= 0) {
        (void)fputc('\n', stderr);
        return LINE_END;
    }
    size_t size = strlen(line);
    (void)history(editor->history, &event, H_ENTER, line);
    *length = size - (line[size - 1] == '\n');
    *text = line;
    return LINE_TEXT;
}
