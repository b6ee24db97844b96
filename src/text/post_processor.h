/* post_processor.h: the tokens put around an encoded text. Internal to text/.
 * ByteLevel (which moves offsets only, and we have none), TemplateProcessing for one text, BertProcessing,
 * RobertaProcessing, and Sequence of them: each has for its text what the one before has made. */
#ifndef STLORA_TEXT_POST_PROCESSOR_H
#define STLORA_TEXT_POST_PROCESSOR_H

#include "text/json_place.h"
#include "text/tokenizer.h"

typedef struct stlora_post_piece {
    bool is_text;      /* the text's ids; otherwise those below */
    size_t begin, end; /* in stlora_post_processor.ids */
} stlora_post_piece;

typedef struct stlora_post_processor {
    size_t *stages; /* [stage_count] where in pieces each ends; none: the text's ids as they are */
    size_t stage_count, stage_capacity;
    size_t copies; /* how often the text comes in the end */
    stlora_post_piece *pieces;
    size_t count, capacity;
    stlora_ids ids;
} stlora_post_processor;

/* stlora_post_processor_read: from the file's "post_processor" (null: none); ids must be below `ids`. Free it whatever
 * happens. */
STLORA_NODISCARD stlora_status stlora_post_processor_read(stlora_post_processor *processor,
                                                          const json_t *part, size_t ids,
                                                          const stlora_place *place,
                                                          stlora_error *err);
void stlora_post_processor_free(stlora_post_processor *processor);

/* stlora_post_process: appends to out what the processor makes of a text's ids, which it may change. */
STLORA_NODISCARD stlora_status stlora_post_process(const stlora_post_processor *processor, stlora_ids *text,
                                                   bool add_special_tokens, stlora_ids *out, stlora_error *err);

#endif
