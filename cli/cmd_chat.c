/* cmd_chat.c: the verb chat: a person's lines, or those of a file, and what the model answers to each. Test: tests/cli/test_chat.py. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "line_editor.h"
#include "options.h"
#include "output.h"
#include "signals.h"
#include "stlora/infer.h"

static const char COMMANDS[] = "  /reset   begin anew\n"
                               "  /help    this list\n"
                               "  /quit    end; so does Ctrl-D\n"
                               "  Ctrl-C   stop the answer, or drop the line\n";

struct chat {
    const struct options *options;
    stlora_dialog *dialog;
    char *answer; // with --json
    size_t length;
};

static stlora_status on_text(void *context, const char *text, size_t length, stlora_error *err)
{
    struct chat *chat = context;
    if (!chat->options->json) {
        stlora_status status = put(text, length, err);
        return status == STLORA_OK ? put_flush(err) : status;
    }
    char *grown = realloc(chat->answer, chat->length + length + 1);
    if (!grown) return refuse(err, STLORA_E_NOMEM, "no memory for an answer");
    memcpy(grown + chat->length, text, length);
    chat->answer = grown;
    chat->length += length;
    return STLORA_OK;
}

/* Sends a line, and ends the answer's line; an answer that was stopped is one, too. */
static stlora_status say(struct chat *chat, const char *text, size_t length, stlora_error *err)
{
    chat->length = 0;
    stlora_status status = stlora_dialog_say(chat->dialog, text, length, err), ended = status;
    if (status != STLORA_OK && status != STLORA_E_INTERRUPTED) return status;
    if (chat->options->json)
        ended = put_json(json_pack("{s:s%}", "text", chat->length ? chat->answer : "", chat->length), 0, err);
    else
        ended = put("\n", 1, err);
    if (ended == STLORA_OK) ended = put_flush(err);
    return ended == STLORA_OK ? status : ended;
}

static bool is(const char *text, size_t length, const char *command)
{
    return strlen(command) == length && memcmp(text, command, length) == 0;
}

/* A line that is a command or a message. *end: it was the last one. */
static stlora_status take_line(struct chat *chat, const char *text, size_t length, bool *end, stlora_error *err)
{
    while (length && (text[length - 1] == ' ' || text[length - 1] == '\t' || text[length - 1] == '\r')) length--;
    if (length == 0) return STLORA_OK;
    if (text[0] != '/') return say(chat, text, length, err);
    *end = is(text, length, "/quit");
    if (*end) return STLORA_OK;
    if (is(text, length, "/reset")) return stlora_dialog_reset(chat->dialog, err);
    if (is(text, length, "/help"))
        (void)fputs(COMMANDS, stderr);
    else
        complain("there is no command %.*s; /help lists them, and a message may begin with a space",
                 length < 80 ? (int)length : 80, text);
    return STLORA_OK;
}

/* At a terminal the program goes on after what ends a turn alone. */
static stlora_status talk(struct chat *chat, volatile sig_atomic_t *interrupted, stlora_error *err)
{
    struct line_editor *editor;
    bool end = false;
    stlora_status status = line_editor_open(&editor, "> ", interrupted, err);
    if (status != STLORA_OK) return status;
    (void)fputs("/help lists the commands, Ctrl-D ends\n", stderr);
    while (!end && status == STLORA_OK) {
        const char *text;
        size_t length;
        enum line_kind kind = line_editor_read(editor, &text, &length);
        if (kind == LINE_END) break;
        if (kind == LINE_INTERRUPTED) continue;
        status = take_line(chat, text, length, &end, err);
        if (status == STLORA_E_FORMAT || status == STLORA_E_UNSUPPORTED || status == STLORA_E_NONFINITE)
            (void)complain_of(status, err);
        if (status != STLORA_E_IO && status != STLORA_E_NOMEM && status != STLORA_E_USAGE) status = STLORA_OK;
    }
    line_editor_close(editor);
    return status;
}

static stlora_status read_lines(struct chat *chat, stlora_error *err)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    bool end = false;
    stlora_status status = STLORA_OK;
    errno = 0;
    while (!end && status == STLORA_OK && (length = getline(&line, &room, stdin)) >= 0) {
        status = take_line(chat, line, (size_t)length - (line[length - 1] == '\n'), &end, err);
        errno = 0;
    }
    if (status == STLORA_OK && ferror(stdin))
        status = refuse(err, STLORA_E_IO, "standard input: %s", strerror(errno));
    free(line);
    return status;
}

stlora_status cmd_chat(const struct options *options, stlora_error *err)
{
    bool person = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
    volatile sig_atomic_t *interrupted = person ? catch_interrupt() : NULL;
    struct chat chat = {.options = options};
    const stlora_infer_callbacks callbacks = {
        .on_text = on_text, .context = &chat, .log = stderr_log, .stop = person ? interrupted : catch_signals()};
    stlora_status status = stlora_dialog_open(&chat.dialog, options->params, &callbacks, err);
    if (status == STLORA_OK) status = person ? talk(&chat, interrupted, err) : read_lines(&chat, err);
    stlora_dialog_close(chat.dialog);
    free(chat.answer);
    return status;
}
