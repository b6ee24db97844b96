/* test_tokenizer_model.c: the model's merging and its flags, every decoder, post-processors, streams, threads, on vocabularies
 * of a few pieces. Expected texts: reasoned by hand and equal to what tokenizers 0.23.3 gives for the same JSON. */
#include <pthread.h>

#include "small_tokenizer.h"

typedef struct model_case {
    const char *name;
    const char *json; /* members of tokenizer.json; NULL: as the case before */
    const char *text, *pieces;
} model_case;

#define SAME NULL

static const model_case models[] = {
    {"rank before place",
     "\"model\":{\"type\":\"BPE\",\"merges\":[\"b c\",\"a b\",\"a bc\",\"ab "
     "c\"],\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5}}",
     "abc", "abc"},
    {"rank before place", SAME, "abab", "ab ab"},
    {"rank before place", SAME, "cab", "c ab"},
    {"leftmost of equals",
     "\"model\":{\"type\":\"BPE\",\"merges\":[[\"a\",\"a\"],[\"aa\",\"aa\"]],\"vocab\":{\"a\":0,"
     "\"aa\":1,\"aaaa\":2}}",
     "aaa", "aa a"},
    {"leftmost of equals", SAME, "aaaaaaa", "aaaa aa a"},
    {"leftmost of equals", SAME, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa a"},
    {"pairs with spaces",
     "\"model\":{\"type\":\"BPE\",\"merges\":[[\"a\",\" \"],[\"a \",\"a\"]],\"vocab\":{\"a\":0,\" "
     "\":1,\"a \":2,\"a a\":3}}",
     "a  a", "a    a"},
    {"pairs with spaces", SAME, "a a", "a a"},
    {"#version line",
     "\"model\":{\"type\":\"BPE\",\"merges\":[\"#version: 0.2\",\"a "
     "b\"],\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}}",
     "ab", "ab"},
    {"later merge wins",
     "\"model\":{\"type\":\"BPE\",\"merges\":[\"a b\",\"b c\",\"a "
     "b\"],\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4}}",
     "abc", "a bc"},
    {"no unknown token", "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"b\":1}}",
     "axb", "a b"},
    {"unknown",
     "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"b\":1,\"<unk>\":2},\"unk_"
     "token\":\"<unk>\",\"fuse_unk\":false}",
     "xaxxb", "<unk> a <unk> <unk> b"},
    {"unknown", SAME, "xx", "<unk> <unk>"},
    {"unknown fused",
     "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"b\":1,\"<unk>\":2},\"unk_"
     "token\":\"<unk>\",\"fuse_unk\":true}",
     "xaxxb", "<unk> a <unk> b"},
    {"unknown fused", SAME, "xx", "<unk>"},
    {"byte fallback",
     "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"<0xC3>\":1,\"<0xA9>\":2,\"<"
     "unk>\":3},\"unk_token\":\"<unk>\",\"byte_fallback\":true,\"fuse_unk\":true}",
     "a\xC3\xA9x\xC3\xA9", "a <0xC3> <0xA9> <0xC3> <0xA9> <unk>"},
    {"byte fallback", SAME,
     "x\xC3\xA9"
     "a",
     "<0xC3> <0xA9> <unk> a"},
    {"merge of bytes",
     "\"model\":{\"type\":\"BPE\",\"merges\":[[\"<0xC3>\",\"<0xA9>\"]],\"vocab\":{\"a\":0,\"<0xC3>"
     "\":1,\"<0xA9>\":2,\"<0xC3><0xA9>\":3},\"byte_fallback\":true}",
     "a\xC3\xA9", "a <0xC3><0xA9>"},
    {"ignore_merges",
     "\"model\":{\"type\":\"BPE\",\"merges\":[\"a "
     "b\"],\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4},\"ignore_merges\":true},\"pre_"
     "tokenizer\":{\"type\":\"WhitespaceSplit\"}",
     "abc ab abcc", "abc ab ab c c"},
    {"without ignore_merges",
     "\"model\":{\"type\":\"BPE\",\"merges\":[\"a "
     "b\"],\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4}},\"pre_tokenizer\":{\"type\":"
     "\"WhitespaceSplit\"}",
     "abc ab abcc", "ab c ab ab c c"},
    {"continuing prefix",
     "\"model\":{\"type\":\"BPE\",\"merges\":[[\"a\",\"##b\"],[\"##a\",\"##b\"],[\"ab\",\"##ab\"]],"
     "\"vocab\":{\"a\":0,\"b\":1,\"##a\":2,\"##b\":3,\"ab\":4,\"##ab\":5,\"abab\":6},\"continuing_"
     "subword_prefix\":\"##\"},\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}",
     "abab ba", "abab b ##a"},
    {"continuing prefix", SAME, "bab", "b ##ab"},
    {"end of word suffix",
     "\"model\":{\"type\":\"BPE\",\"merges\":[\"a "
     "b</w>\"],\"vocab\":{\"a\":0,\"b\":1,\"a</w>\":2,\"b</w>\":3,\"ab</"
     "w>\":4},\"end_of_word_suffix\":\"</w>\"},\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}",
     "ab aba", "ab</w> a b a</w>"},
    {"mark in front",
     "\"model\":{\"type\":\"BPE\",\"merges\":[\"\\u2581 a\",\"\\u2581 \\u2581\",\"\\u2581\\u2581 "
     "a\",\"a "
     "b\"],\"vocab\":{\"\\u2581\":0,\"a\":1,\"b\":2,\"\\u2581a\":3,\"\\u2581\\u2581\":4,"
     "\"\\u2581\\u2581a\":5,\"b\\u2581x\":6,\"ab\":7}}",
     "\xE2\x96\x81"
     "ab\xE2\x96\x81\xE2\x96\x81"
     "a\xE2\x96\x81",
     "\xE2\x96\x81"
     "a b \xE2\x96\x81 \xE2\x96\x81"
     "a \xE2\x96\x81"},
    {"mark in front", SAME,
     "ab\xE2\x96\x81\xE2\x96\x81\xE2\x96\x81"
     "ab",
     "ab \xE2\x96\x81\xE2\x96\x81 \xE2\x96\x81"
     "a b"},
    {"mark in front", SAME, "\xE2\x96\x81", "\xE2\x96\x81"},
    {"mark within a merge",
     "\"model\":{\"type\":\"BPE\",\"merges\":[\"b \\u2581\",\"b\\u2581 "
     "a\"],\"vocab\":{\"\\u2581\":0,\"a\":1,\"b\":2,\"b\\u2581\":3,\"b\\u2581a\":4}}",
     "ab\xE2\x96\x81"
     "a",
     "a b\xE2\x96\x81"
     "a"},
};

/* The pieces, given with | between them, are the vocabulary. */
static const model_case decoders[] = {
    {"none", "\"decoder\":null", "a|b", "a b"},
    {"none", SAME, "", ""},
    {"none", SAME, "a", "a"},
    {"Fuse", "\"decoder\":{\"type\":\"Fuse\"}", "a| b", "a b"},
    {"ByteLevel",
     "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_"
     "regex\":true}",
     "\xC4\xA0"
     "a|\xC3\x83|\xC2\xA9",
     " a\xC3\xA9"},
    {"ByteLevel", SAME, "\xC3\x83", "\xEF\xBF\xBD"},
    {"ByteLevel", SAME, "\xC3\x83|a",
     "\xEF\xBF\xBD"
     "a"},
    {"ByteLevel", SAME, "\xC3\xB0|\xC5\x81|\xC4\xBA", "\xEF\xBF\xBD"},
    {"ByteLevel", SAME, "\xC3\xA9|\xE4\xB8\xAD", "\xEF\xBF\xBD\xE4\xB8\xAD"},
    {"ByteLevel", SAME,
     "\xC4\xA0"
     "a\xE4\xB8\xAD|\xC3\x83|\xC2\xA9",
     "\xC4\xA0"
     "a\xE4\xB8\xAD\xC3\xA9"},
    {"ByteLevel", SAME, "\xC3\xBF|\xC3\xBE", "\xEF\xBF\xBD\xEF\xBF\xBD"},
    {"ByteFallback", "\"decoder\":{\"type\":\"ByteFallback\"}", "a|<0xC3>|<0xA9>|b",
     "a\xC3\xA9"
     "b"},
    {"ByteFallback", SAME, "<0xC3>|a",
     "\xEF\xBF\xBD"
     "a"},
    {"ByteFallback", SAME, "<0xC3>|<0xA9>|<0xFF>", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    {"ByteFallback", SAME, "<0x41>|<0x+F>|<0x4G>", "A\x0F<0x4G>"},
    {"ByteFallback", SAME, "<0x41>|a|<0x0A>", "Aa\x0A"},
    {"Replace",
     "\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"aa\"},\"content\":\"-\"}",
     "aaa|a|a", "-aaa"},
    {"Fuse, Replace",
     "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Replace\","
     "\"pattern\":{\"String\":\"a\\u00e9\"},\"content\":\"-\"}]}",
     "a|\xC3\xA9"
     "a|a|\xC3\xA9|a",
     "-a-a"},
    {"Replace regex",
     "\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[0-9]+\"},\"content\":\"#\"}",
     "a12|3|b", "a##b"},
    {"Fuse, Replace regex",
     "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Replace\","
     "\"pattern\":{\"Regex\":\"[0-9]+\"},\"content\":\"#\"}]}",
     "a12|3|b", "a#b"},
    {"Strip", "\"decoder\":{\"type\":\"Strip\",\"content\":\"a\",\"start\":1,\"stop\":0}",
     "aab|a|ba", "abba"},
    {"Strip end", "\"decoder\":{\"type\":\"Strip\",\"content\":\"a\",\"start\":0,\"stop\":2}",
     "baaa|aba", "baab"},
    {"Strip of all",
     "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
     "\"content\":\"a\",\"start\":1,\"stop\":0}]}",
     "a|ab|a", "aba"},
    {"Metaspace",
     "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":"
     "\"always\",\"split\":true}",
     "\xE2\x96\x81"
     "a\xE2\x96\x81|\xE2\x96\x81"
     "b",
     "a b"},
    {"Metaspace", SAME, "a|\xE2\x96\x81", "a "},
    {"Metaspace never",
     "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"never\","
     "\"split\":true}",
     "\xE2\x96\x81"
     "a|\xE2\x96\x81"
     "b",
     " a b"},
    {"BPEDecoder", "\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}", "a|b</w>|c</w>",
     "ab c"},
    {"BPEDecoder", SAME, "a</w>", "a"},
    {"Llama 2's",
     "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
     "\"String\":\"\\u2581\"},\"content\":\" "
     "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "
     "\",\"start\":1,\"stop\":0}]}",
     "\xE2\x96\x81\xE2\x96\x81"
     "a|<0xE4>|<0xB8>|<0xAD>|\xE2\x96\x81"
     "b",
     " a\xE4\xB8\xAD b"},
    {"Llama 2's", SAME, "<0x20>|<0x20>|a", " a"},
    {"empty sequence", "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[]}", "a|b", "ab"},
};

static void merging(void **state)
{
    (void)state;
    stlora_tokenizer *tokenizer = NULL;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (models[i].json) {
            stlora_tokenizer_free(tokenizer);
            json_t *root = object_of(models[i].json);
            tokenizer = tokenizer_of(root);
            json_decref(root);
        }
        char *pieces = round_trip(tokenizer, models[i].text, false);
        if (strcmp(pieces, models[i].pieces) != 0)
            fail_msg("%s: '%s' gives '%s', wanted '%s'", models[i].name, models[i].text, pieces,
                     models[i].pieces);
        stlora_free(pieces);
    }
    stlora_tokenizer_free(tokenizer);
}

/* A scan serves words of up to 32 symbols, a heap longer ones: glued words long enough for the heap must come out
 * as the words by themselves, since no merge reaches over a blank. */
static void short_and_long_words_agree(void **state)
{
    (void)state;
    static const char alphabet[] = "abcd";
    json_t *vocab = json_object(), *merges = json_array();
    json_object_set_new(vocab, " ", json_integer(0));
    for (int i = 0; i < 4; i++)
        json_object_set_new(vocab, (const char[]){alphabet[i], 0}, json_integer(i + 1));
    uint32_t random = 12345;
    while (json_object_size(vocab) < 60) {
        const char *key, *parts[2] = {"", ""};
        json_t *value;
        json_int_t wanted[2];
        for (int side = 0; side < 2; side++) {
            random = random * 1664525u + 1013904223u;
            wanted[side] = 1 + (json_int_t)((random >> 8) % (json_object_size(vocab) - 1));
            json_object_foreach(vocab, key, value) if (json_integer_value(value) == wanted[side])
                parts[side] = key;
        }
        char joined[128];
        if (strlen(parts[0]) + strlen(parts[1]) > 8) continue;
        (void)snprintf(joined, sizeof joined, "%s%s", parts[0], parts[1]);
        json_array_append_new(merges, json_pack("[s,s]", parts[0], parts[1]));
        if (!json_object_get(vocab, joined))
            json_object_set_new(vocab, joined, json_integer((json_int_t)json_object_size(vocab)));
    }
    json_t *root = json_pack("{s:{s:o,s:o}}", "model", "vocab", vocab, "merges", merges);
    stlora_tokenizer *tokenizer = tokenizer_of(root);
    json_decref(root);

    stlora_error err = {0};
    stlora_ids parts = {0}, whole = {0};
    char text[8192];
    size_t length = 0;
    while (length < sizeof text - 32) {
        size_t begin = length;
        for (int i = 0; i < 24; i++) {
            random = random * 1664525u + 1013904223u;
            text[length++] = alphabet[random >> 24 & 3];
        }
        text[length++] = ' ';
        assert_ok(
            stlora_tokenizer_encode(tokenizer, text + begin, length - begin, false, &parts, &err));
    }
    assert_ok(stlora_tokenizer_encode(tokenizer, text, length, false, &whole, &err));
    assert_int_equal(whole.count, parts.count);
    assert_true(whole.count < length - length / 8);
    assert_memory_equal(whole.data, parts.data, whole.count * sizeof *whole.data);
    stlora_ids_free(&parts);
    stlora_ids_free(&whole);
    stlora_tokenizer_free(tokenizer);
}

/* Ids 0, 1, ... of the different pieces in a list with | between them; the same ids in order of the list. */
static size_t list_pieces(const char *list, json_t *vocab, int32_t ids[16])
{
    size_t count = 0;
    while (*list) {
        char piece[64];
        size_t length = strcspn(list, "|");
        (void)snprintf(piece, sizeof piece, "%.*s", (int)length, list);
        if (!json_object_get(vocab, piece))
            json_object_set_new(vocab, piece, json_integer((json_int_t)json_object_size(vocab)));
        ids[count++] = (int32_t)json_integer_value(json_object_get(vocab, piece));
        list += length + (list[length] == '|');
    }
    return count;
}

static void decoding(void **state)
{
    (void)state;
    const char *decoder = NULL;
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++) {
        int32_t ids[16] = {0};
        if (decoders[i].json) decoder = decoders[i].json;
        json_t *root = object_of(decoder), *vocab = json_object();
        size_t count = list_pieces(decoders[i].text, vocab, ids);
        json_object_set_new(root, "model", json_pack("{s:o}", "vocab", vocab));
        stlora_tokenizer *tokenizer = tokenizer_of(root);
        json_decref(root);

        stlora_error err = {0};
        char *text = NULL, streamed[256] = "";
        size_t length = 0, used = 0, size = 0;
        assert_ok(stlora_tokenizer_decode(tokenizer, ids, count, false, &text, &length, &err));
        if (strcmp(text, decoders[i].pieces) != 0)
            fail_msg("%s: '%s' gives '%s', wanted '%s'", decoders[i].name, decoders[i].text, text,
                     decoders[i].pieces);
        stlora_text_stream *stream = NULL;
        assert_ok(stlora_text_stream_create(&stream, tokenizer, false, &err));
        for (size_t k = 0; k <= count; k++, used += size) {
            const char *part = NULL;
            if (k < count)
                assert_ok(stlora_text_stream_push(stream, ids[k], &part, &size, &err));
            else
                assert_ok(stlora_text_stream_flush(stream, &part, &size, &err));
            memcpy(streamed + used, part, size);
        }
        assert_int_equal(used, length);
        assert_memory_equal(streamed, text, length);
        stlora_text_stream_free(stream);
        stlora_free(text);
        stlora_tokenizer_free(tokenizer);
    }
}

#define POST_MODEL                                                                                 \
    "\"added_tokens\":[{\"id\":2,\"content\":\"<s>\",\"special\":true},"                           \
    "{\"id\":3,\"content\":\"</s>\",\"special\":true}],\"decoder\":{\"type\":\"Fuse\"},"           \
    "\"model\":{\"vocab\":{\"a\":0,\"b\":1}},\"post_processor\":"
#define TEMPLATE(pieces)                                                                           \
    "{\"type\":\"TemplateProcessing\",\"single\":[" pieces                                         \
    "],\"special_tokens\":{\"B\":{\"ids\":[2]},"                                                   \
    "\"E\":{\"ids\":[3,3]}}}"
#define PIECE(name) "{\"SpecialToken\":{\"id\":\"" name "\",\"type_id\":0}}"
#define TEXT        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"

static void post_processing(void **state)
{
    (void)state;
    static const struct {
        const char *json, *with, *without;
    } rows[] = {
        {POST_MODEL "null", "ab", "ab"},
        {POST_MODEL "{\"type\":\"ByteLevel\"}", "ab", "ab"},
        {POST_MODEL TEMPLATE(PIECE("B") "," TEXT), "<s>ab", "ab"},
        {POST_MODEL TEMPLATE(PIECE("B") "," TEXT "," PIECE("E")), "<s>ab</s></s>", "ab"},
        {POST_MODEL TEMPLATE(TEXT "," PIECE("E") "," TEXT), "ab</s></s>ab", "abab"},
        {POST_MODEL TEMPLATE(PIECE("B")), "<s>", ""},
        {POST_MODEL "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," TEMPLATE(
             PIECE("B") "," TEXT) "]}",
         "<s>ab", "ab"},
        {POST_MODEL "{\"type\":\"RobertaProcessing\",\"sep\":[\"</s>\",3],\"cls\":[\"<s>\",2]}",
         "<s>ab</s>", "ab"},
        {POST_MODEL "{\"type\":\"BertProcessing\",\"sep\":[\"</s>\",3],\"cls\":[\"<s>\",2]}",
         "<s>ab</s>", "ab"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *root = object_of(rows[i].json);
        stlora_tokenizer *tokenizer = tokenizer_of(root);
        json_decref(root);
        char *with = round_trip(tokenizer, "ab", true),
             *without = round_trip(tokenizer, "ab", false);
        assert_string_equal(with, rows[i].with);
        assert_string_equal(without, rows[i].without);
        stlora_free(with);
        stlora_free(without);
        stlora_tokenizer_free(tokenizer);
    }
}

/* Special tokens are left out on request, but not one whose normal form is not its content: the library knows it by what is decoded. An added
 * token that is not special stays. */
static void skipping_special_tokens(void **state)
{
    (void)state;
    json_t *root = object_of(
        "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"},\"decoder\":{\"type\":\"Fuse\"},"
        "\"added_tokens\":[{\"id\":2,\"content\":\"<n>\",\"special\":true,\"normalized\":true},"
        "{\"id\":3,\"content\":\"<s>\",\"special\":true},{\"id\":4,\"content\":\"<p>\",\"special\":"
        "false,"
        "\"normalized\":false}],\"model\":{\"vocab\":{\"a\":0,\"b\":1}}");
    stlora_tokenizer *tokenizer = tokenizer_of(root);
    json_decref(root);
    stlora_error err = {0};
    static const int32_t ids[] = {3, 0, 2, 4, 1, 3};
    char *text = NULL;
    size_t length;
    assert_ok(stlora_tokenizer_decode(tokenizer, ids, 6, false, &text, &length, &err));
    assert_string_equal(text, "<s>a_<n><p>b<s>");
    stlora_free(text);
    assert_ok(stlora_tokenizer_decode(tokenizer, ids, 6, true, &text, &length, &err));
    assert_string_equal(text, "a_<n><p>b");
    stlora_free(text);
    assert_int_equal(stlora_tokenizer_vocab_size(tokenizer), 5);
    assert_int_equal(stlora_tokenizer_find(tokenizer, "<p>"), 4);
    assert_int_equal(stlora_tokenizer_find(tokenizer, "b"), 1);
    assert_int_equal(stlora_tokenizer_find(tokenizer, "c"), -1);
    stlora_tokenizer_free(tokenizer);
}

/* Ids are appended, and a failure leaves what was there. */
static void ids_are_appended(void **state)
{
    (void)state;
    json_t *root = object_of("\"model\":{\"vocab\":{\"a\":0,\"b\":1}}");
    stlora_tokenizer *tokenizer = tokenizer_of(root);
    json_decref(root);
    stlora_error err = {0};
    stlora_ids ids = {0};
    assert_ok(stlora_tokenizer_encode(tokenizer, "ab", 2, true, &ids, &err));
    assert_ok(stlora_tokenizer_encode(tokenizer, "", 0, true, &ids, &err));
    assert_ok(stlora_tokenizer_encode(tokenizer, "b", 1, true, &ids, &err));
    assert_int_equal(stlora_tokenizer_encode(tokenizer, "b\xFF", 2, true, &ids, &err),
                     STLORA_E_FORMAT);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.data[2], 1);
    stlora_ids_free(&ids);
    stlora_tokenizer_free(tokenizer);
}

typedef struct job {
    const stlora_tokenizer *tokenizer;
    const char *text;
    stlora_ids ids;
    bool failed;
} job;

static void *encode_often(void *context)
{
    job *mine = context;
    for (int i = 0; i < 50 && !mine->failed; i++) {
        mine->ids.count = 0;
        mine->failed = stlora_tokenizer_encode(mine->tokenizer, mine->text, strlen(mine->text),
                                               true, &mine->ids, NULL) != STLORA_OK;
    }
    return NULL;
}

/* One tokenizer with patterns in normalizer and pre-tokenizer, four threads, the same ids in each. */
static void threads_share_one(void **state)
{
    (void)state;
    json_t *root = object_of(
        "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"c+\"},\"content\":\"b\"},"
        "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[ab]{1,3}\"},"
        "\"behavior\":\"Isolated\"},"
        "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\" \":3},\"merges\":[[\"a\",\"b\"]]}");
    stlora_tokenizer *tokenizer = tokenizer_of(root);
    json_decref(root);
    char text[6001];
    for (size_t i = 0; i < 6000; i++)
        text[i] = "ab cab"[i * 7 % 6];
    text[6000] = '\0';
    pthread_t threads[4];
    job jobs[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (job){tokenizer, text, {0}, false};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(jobs[i].failed);
        assert_true(jobs[i].ids.count > 1000);
        assert_int_equal(jobs[i].ids.count, jobs[0].ids.count);
        assert_memory_equal(jobs[i].ids.data, jobs[0].ids.data,
                            jobs[0].ids.count * sizeof *jobs[0].ids.data);
    }
    for (int i = 0; i < 4; i++)
        stlora_ids_free(&jobs[i].ids);
    stlora_tokenizer_free(tokenizer);
}

/* A text is cut at characters that merge with nothing only where no character can be unknown: an unknown one waits for what
 * comes behind it. */
static void unknown_characters_wait(void **state)
{
    (void)state;
    stlora_error err = {0};
    json_t *root = object_of("\"model\":{\"vocab\":{\"<unk>\":0,\"a\":1,\"\u2581\":2,\"<0x0A>\":3},"
                             "\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true}");
    stlora_tokenizer *tokenizer = tokenizer_of(root);
    json_decref(root);
    stlora_ids ids = {0};
    assert_ok(stlora_tokenizer_encode(tokenizer, "ax\nxa", 5, true, &ids, &err));
    const int32_t wanted[] = {1, 3, 0, 1}; /* the byte in between comes before the two that have become one */
    assert_int_equal(ids.count, 4);
    assert_memory_equal(ids.data, wanted, sizeof wanted);
    stlora_ids_free(&ids);
    stlora_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging),
        cmocka_unit_test(short_and_long_words_agree),
        cmocka_unit_test(decoding),
        cmocka_unit_test(post_processing),
        cmocka_unit_test(skipping_special_tokens),
        cmocka_unit_test(ids_are_appended),
        cmocka_unit_test(threads_share_one),
        cmocka_unit_test(unknown_characters_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
