/* log.h: the caller's sink for progress and warnings. */
#ifndef STLORA_LOG_H
#define STLORA_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum stlora_log_level { STLORA_LOG_INFO, STLORA_LOG_WARNING } stlora_log_level;

/* write: called with one line of UTF-8 text without line break, from the thread that called the library. */
typedef struct stlora_log_sink {
    void (*write)(void *context, stlora_log_level level, const char *line);
    void *context;
} stlora_log_sink;

#ifdef __cplusplus
}
#endif
#endif
