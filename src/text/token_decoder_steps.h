/* token_decoder_steps.h: what the two halves of the decoder share: reading (token_decoder.c) and running
 * (token_decoding.c). Internal to them. */
#ifndef STLORA_TEXT_TOKEN_DECODER_STEPS_H
#define STLORA_TEXT_TOKEN_DECODER_STEPS_H

#include "text/text_pattern.h"
#include "text/token_decoder.h"

typedef enum stlora_decode_kind {
    STLORA_DECODE_JOIN, /* no decoder: a space between tokens */
    STLORA_DECODE_BYTE_LEVEL,
    STLORA_DECODE_BYTE_FALLBACK,
    STLORA_DECODE_REPLACE,
    STLORA_DECODE_FUSE,
    STLORA_DECODE_STRIP,
    STLORA_DECODE_METASPACE,
    STLORA_DECODE_BPE,
    STLORA_DECODE_WORD_PIECE,
} stlora_decode_kind;

struct stlora_decode_step {
    stlora_decode_kind kind;
    stlora_pattern pattern; /* REPLACE; BPE's suffix; METASPACE's replacement */
    char *text;             /* what REPLACE puts; STRIP's character; WORD_PIECE's prefix */
    size_t length;
    size_t start, stop; /* STRIP */
    bool keep_first;    /* METASPACE: the first token's replacements become spaces too */
    bool clean_up;      /* WORD_PIECE: English blanks before marks go */
};

#endif
