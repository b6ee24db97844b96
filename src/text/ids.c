/* ids.c: the growing array of token ids. See tokenizer.h. */
#include "base/memory.h"
#include "text/tokenizer.h"

stlora_status stlora_ids_push(stlora_ids *ids, int32_t id, stlora_error *err)
{
    STLORA_TRY(
        stlora_grow(&ids->data, &ids->capacity, ids->count + 1, sizeof *ids->data, "ids", err));
    ids->data[ids->count++] = id;
    return STLORA_OK;
}

void stlora_ids_free(stlora_ids *ids)
{
    stlora_free(ids->data);
    *ids = (stlora_ids){0};
}
