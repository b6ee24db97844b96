/* test_tokenizer_bad.c: tokenizer files that are cut, wrong, contradictory or not supported: each gives a status and one
 * sentence that names file and place, none crashes or leaks. */
#include "small_tokenizer.h"

static const char whole[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":{\"pad_id\":0},"
    "\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,"
    "\"rstrip\":false,"
    "\"normalized\":false,\"special\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"b\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a+\"},\"behavior\":"
    "\"Isolated\",\"invert\":false},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<"
    "s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[3],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"fuse_unk\":false,"
    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";

static void expect(const char *json, size_t length, const char *config, stlora_status wanted,
                   const char *word)
{
    stlora_error err = {0};
    stlora_tokenizer *tokenizer = NULL;
    stlora_status got = load_text(&tokenizer, json, length, config, &err);
    if (got != wanted)
        fail_msg("%.300s: %s instead of %s: %s", json, stlora_status_name(got),
                 stlora_status_name(wanted), err.text);
    assert_null(tokenizer);
    assert_int_equal(err.status, wanted);
    assert_non_null(strstr(err.text, config ? "tokenizer_config.json" : "tokenizer.json"));
    if (!strstr(err.text, word)) fail_msg("'%s' does not say '%s'", err.text, word);
}

static void refuses(const char *json, stlora_status wanted, const char *word)
{
    expect(json, strlen(json), NULL, wanted, word);
}

static void every_prefix(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_tokenizer *tokenizer = NULL;
    assert_ok(load_text(&tokenizer, whole, sizeof whole - 1, NULL, &err));
    stlora_tokenizer_free(tokenizer);
    for (size_t length = 0; length < sizeof whole - 1; length++)
        expect(whole, length, NULL, STLORA_E_FORMAT, "");
}

/* Each byte replaced by each of a few others: whatever comes out loads or is refused, and does not crash. */
static void every_byte_damaged(void **state)
{
    (void)state;
    static const char others[] = "\"0]}x";
    char text[sizeof whole];
    for (size_t at = 0; at < sizeof whole - 1; at++) {
        for (const char *other = others; *other; other++) {
            memcpy(text, whole, sizeof whole);
            text[at] = *other;
            stlora_error err = {0};
            stlora_tokenizer *tokenizer = NULL;
            stlora_status status = load_text(&tokenizer, text, sizeof whole - 1, NULL, &err);
            assert_true(status == STLORA_OK || status == STLORA_E_FORMAT ||
                        status == STLORA_E_UNSUPPORTED);
            if (status == STLORA_OK) stlora_free(round_trip(tokenizer, "a <s>ab", true));
            stlora_tokenizer_free(tokenizer);
        }
    }
}

/* The whole file with one member replaced. */
static void replaced(const char *member, const char *value, stlora_status wanted, const char *word)
{
    json_error_t why;
    json_t *root = json_loads(whole, 0, &why), *object = root;
    char path[128];
    (void)snprintf(path, sizeof path, "%s", member);
    char *key = path;
    for (char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = '\0';
        object = json_object_get(object, key);
        assert_non_null(object);
    }
    if (value)
        json_object_set_new(object, key, json_loads(value, JSON_DECODE_ANY, &why));
    else
        json_object_del(object, key);
    if (value && !json_object_get(object, key)) fail_msg("%s: %s", value, why.text);
    char *text = json_dumps(root, 0);
    refuses(text, wanted, word);
    free(text);
    json_decref(root);
}

static void wrong_model(void **state)
{
    (void)state;
    const stlora_status format = STLORA_E_FORMAT, unsupported = STLORA_E_UNSUPPORTED;
    refuses("[]", format, "wanted an object, found array");
    refuses("{}", format, "model: wanted an object, found nothing");
    refuses("{\"model\":{\"type\":\"BPE\"}}", format, "model.vocab");
    replaced("version", "\"2.0\"", unsupported, "2.0");
    replaced("version", "1", format, "version: wanted a string, found integer");
    replaced("model", "7", format, "model: wanted an object, found integer");
    replaced("model.type", "\"Unigram\"", unsupported, "Unigram");
    replaced("model.type", "\"WordPiece\"", unsupported, "WordPiece");
    replaced("model.type", "3", format, "model.type");
    replaced("model.dropout", "0.1", unsupported, "dropout");
    replaced("model.fuse_unk", "1", format, "model.fuse_unk: wanted true or false, found integer");
    replaced("model.unk_token", "1", format, "model.unk_token");
    replaced("model.vocab", NULL, format, "model.vocab");
    replaced("model.vocab", "[]", format, "model.vocab: wanted an object, found array");
    replaced("model.vocab.b", "\"1\"", format, "model.vocab.b: wanted an integer, found string");
    replaced("model.vocab.b", "-1", format, "model.vocab.b: wanted an id from 0 to");
    replaced("model.vocab.b", "1.5", format, "model.vocab.b");
    replaced("model.vocab.b", "16777217", format, "found 16777217");
    replaced("model.vocab.b", "4000000000000", format, "found 4000000000000");
    replaced("model.vocab.b", "0", format, "id 0 belongs to 'a' already");
    replaced("model.merges", NULL, format, "model.merges: wanted an array, found nothing");
    replaced("model.merges", "{}", format, "model.merges");
    replaced("model.merges", "[\"a c\"]", format, "model.merges[0]: the vocabulary has no 'c'");
    replaced("model.merges", "[\"a b\",\"b a\"]", format,
             "model.merges[1]: the vocabulary has no 'ba'");
    replaced("model.merges", "[\"ab\"]", format, "two pieces");
    replaced("model.merges", "[\"a b c\"]", format, "two pieces");
    replaced("model.merges", "[[\"a\"]]", format, "model.merges[0]");
    replaced("model.merges", "[[\"a\",1]]", format, "model.merges[0]");
    replaced("model.merges", "[null]", format, "model.merges[0]");
    replaced("model.continuing_subword_prefix", "\"##\"", format, "shorter than the prefix");
}

static void wrong_added_tokens(void **state)
{
    (void)state;
    const stlora_status format = STLORA_E_FORMAT;
    replaced("added_tokens", "{}", format, "added_tokens: wanted an array");
    replaced("added_tokens", "[1]", format, "added_tokens[0]: wanted an object");
    replaced("added_tokens", "[{\"id\":3}]", format, "added_tokens[0].content");
    replaced("added_tokens", "[{\"content\":\"x\"}]", format, "added_tokens[0].id");
    replaced("added_tokens", "[{\"id\":-1,\"content\":\"x\"}]", format, "added_tokens[0].id");
    replaced("added_tokens", "[{\"id\":99999999,\"content\":\"x\"}]", format, "99999999");
    replaced("added_tokens", "[{\"id\":3,\"content\":\"x\",\"lstrip\":0}]", format,
             "added_tokens[0].lstrip");
    replaced("added_tokens", "[{\"id\":3,\"content\":\"x\"},{\"id\":3,\"content\":\"y\"}]", format,
             "belongs to 'x'");
    replaced("added_tokens", "[{\"id\":3,\"content\":\"x\"},{\"id\":4,\"content\":\"x\"}]", format,
             "twice");
    replaced("added_tokens", "[{\"id\":1,\"content\":\"x\"}]", format,
             "belongs to 'b' in the vocabulary");
    replaced("added_tokens", "[{\"id\":3,\"content\":\"a\"}]", format,
             "has id 3 here and 0 in the vocabulary");
    replaced("added_tokens", "[{\"id\":7,\"content\":\"x\"}]", format, "gets 3");
}

static void wrong_parts(void **state)
{
    (void)state;
    const stlora_status format = STLORA_E_FORMAT, unsupported = STLORA_E_UNSUPPORTED;
    replaced("normalizer", "\"NFC\"", format, "normalizer: wanted an object or null, found string");
    replaced("normalizer", "{}", format, "normalizer.type");
    replaced("normalizer", "{\"type\":\"Precompiled\"}", unsupported, "Precompiled");
    replaced("normalizer", "{\"type\":\"Sequence\"}", format,
             "normalizer.normalizers: wanted an array");
    replaced("normalizer",
             "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Precompiled\"}]}",
             unsupported, "normalizer.normalizers[1]: the normalizer 'Precompiled'");
    replaced("normalizer", "{\"type\":\"Prepend\"}", format, "normalizer.prepend");
    replaced("normalizer", "{\"type\":\"Replace\",\"content\":\"\"}", format, "normalizer.pattern");
    replaced("normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Glob\":\"*\"},\"content\":\"\"}",
             format, "String or a Regex");
    replaced("normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}",
             format, "refused");
    replaced("normalizer", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}", format,
             "normalizer.content");
    replaced("pre_tokenizer", "{\"type\":\"UnicodeScripts\"}", unsupported, "UnicodeScripts");
    replaced("pre_tokenizer", "{\"type\":\"FixedLength\"}", format, "pre_tokenizer.length: wanted an integer");
    replaced("pre_tokenizer", "{\"type\":\"FixedLength\",\"length\":0}", format, "at least 1");
    replaced("pre_tokenizer.pattern", "{\"Regex\":\"[\"}", format,
             "pre_tokenizer.pattern: the pattern '['");
    replaced("pre_tokenizer.behavior", "\"Kept\"", format, "pre_tokenizer.behavior");
    replaced("pre_tokenizer.behavior", NULL, format, "pre_tokenizer.behavior");
    replaced("pre_tokenizer.invert", "\"no\"", format, "pre_tokenizer.invert");
    replaced("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"__\"}", format,
             "one character");
    replaced("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"\"}", format,
             "one character");
    replaced("pre_tokenizer",
             "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}", format,
             "last");
    replaced("pre_tokenizer",
             "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\",\"add_"
             "prefix_space\":false}",
             format, "contradicts");
    replaced("post_processor", "{\"type\":\"PairProcessing\"}", unsupported, "PairProcessing");
    replaced("post_processor.special_tokens", "{}", format, "has no ids for '<s>'");
    replaced("post_processor.special_tokens", "{\"<s>\":{\"ids\":[4]}}", format,
             "an id below 4, found 4");
    replaced("post_processor.special_tokens", "{\"<s>\":{\"ids\":[\"3\"]}}", format,
             "wanted an id, found string");
    replaced("post_processor.single", "[{\"Sequence\":{\"id\":\"B\"}}]", format, "found 'B'");
    replaced("post_processor.single", "[7]", format, "post_processor.single[0]");
    replaced("post_processor.single", NULL, format, "post_processor.single");
    replaced("post_processor", "{\"type\":\"BertProcessing\",\"cls\":[\"x\",3]}", format,
             "post_processor.sep");
#define TWICE "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},{\"Sequence\":{\"id\":\"A\"}}]}"
    replaced("post_processor", "{\"type\":\"Sequence\",\"processors\":[" TWICE "," TWICE "," TWICE "," TWICE "," TWICE "]}", format,
             "post_processor.processors[4]: the text comes more than 16 times");
#undef TWICE
    replaced("decoder", "{\"type\":\"CTC\"}", unsupported, "CTC");
    replaced("decoder", "{\"type\":\"WordPiece\"}", format, "decoder.prefix");
    replaced("decoder", "{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}", format,
             "decoder.start");
    replaced("decoder", "{\"type\":\"Strip\",\"content\":\" \",\"start\":1}", format,
             "decoder.stop");
    replaced("decoder", "{\"type\":\"Sequence\",\"decoders\":[null]}", format,
             "decoder.decoders[0]");
}

/* Sequences within sequences are refused from a depth on; brackets within brackets are the JSON reader's business. */
static void deep_nesting(void **state)
{
    (void)state;
    static const char open[] = "{\"type\":\"Sequence\",\"decoders\":[", close[] = "]}";
    for (int depth = 100; depth <= 5000; depth *= 50) {
        size_t size = (size_t)depth * (sizeof open + sizeof close), used = 0;
        char *text = malloc(size + 64);
        assert_non_null(text);
        used +=
            (size_t)sprintf(text + used, "{\"model\":{\"vocab\":{},\"merges\":[]},\"decoder\":");
        for (int i = 0; i < depth; i++)
            used += (size_t)sprintf(text + used, "%s", open);
        for (int i = 0; i < depth; i++)
            used += (size_t)sprintf(text + used, "%s", close);
        (void)sprintf(text + used, "}");
        refuses(text, STLORA_E_FORMAT, "");
        free(text);
    }
}

static void wrong_config(void **state)
{
    (void)state;
    expect(whole, sizeof whole - 1, "{", STLORA_E_FORMAT, "line 1");
    expect(whole, sizeof whole - 1, "[]", STLORA_E_FORMAT, "wanted an object");
    expect(whole, sizeof whole - 1, "{\"bos_token\":7}", STLORA_E_FORMAT,
           "bos_token: wanted a string");
    expect(whole, sizeof whole - 1, "{\"eos_token\":{\"content\":[]}}", STLORA_E_FORMAT,
           "eos_token");

    stlora_error err = {0};
    stlora_tokenizer *tokenizer = NULL;
    assert_ok(
        load_text(&tokenizer, whole, sizeof whole - 1,
                  "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"ab\",\"pad_token\":null,"
                  "\"unk_token\":\"nowhere\",\"model_max_length\":1000000000000000019884624838656}",
                  &err));
    assert_int_equal(stlora_tokenizer_bos(tokenizer), 3);
    assert_int_equal(stlora_tokenizer_eos(tokenizer), 2);
    assert_int_equal(stlora_tokenizer_pad(tokenizer), -1);
    assert_int_equal(stlora_tokenizer_unk(tokenizer), -1);
    stlora_tokenizer_free(tokenizer);
    stlora_tokenizer_free(NULL);

    tokenizer = NULL;
    assert_int_equal(stlora_tokenizer_load(&tokenizer, "/nowhere/at/all", &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "/nowhere/at/all/tokenizer.json"));
    assert_null(tokenizer);
}

static void refuses_text(const stlora_tokenizer *tokenizer, const char *text, size_t length,
                         const char *word)
{
    stlora_error err = {0};
    stlora_ids ids = {0};
    assert_int_equal(stlora_tokenizer_encode(tokenizer, text, length, true, &ids, &err),
                     STLORA_E_FORMAT);
    assert_int_equal(ids.count, 0);
    if (!strstr(err.text, word)) fail_msg("'%s' does not say '%s'", err.text, word);
    stlora_ids_free(&ids);
}

static void wrong_text_and_ids(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_tokenizer *tokenizer = NULL;
    assert_ok(load_text(&tokenizer, whole, sizeof whole - 1, NULL, &err));
    refuses_text(tokenizer, "abcdefghijkl\x80", 13, "byte 12: 0x80");
    refuses_text(tokenizer, "a\xC3", 2, "byte 1");    /* cut */
    refuses_text(tokenizer, "\xC0\xAF", 2, "byte 0"); /* longer than needed */
    refuses_text(tokenizer, "\xE0\x80\xAF", 3, "byte 0");
    refuses_text(tokenizer, "a\xED\xA0\x80", 4, "byte 1");    /* a surrogate */
    refuses_text(tokenizer, "\xF4\x90\x80\x80", 4, "byte 0"); /* beyond U+10FFFF */
    refuses_text(tokenizer, "\xF5\x80\x80\x80", 4, "byte 0");
    refuses_text(tokenizer, "\xF0\x9F\x98", 3, "byte 0");

    char *text = NULL;
    size_t length = 99;
    static const int32_t bad[][3] = {{0, 1, 4}, {0, 1, -1}, {0, 1, INT32_MAX}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stlora_tokenizer_decode(tokenizer, bad[i], 3, true, &text, &length, &err),
                         STLORA_E_FORMAT);
        assert_non_null(strstr(err.text, "at place 2"));
        assert_null(text);
        assert_int_equal(length, 99);
    }
    stlora_text_stream *stream = NULL;
    const char *part = NULL;
    assert_ok(stlora_text_stream_create(&stream, tokenizer, false, &err));
    assert_ok(stlora_text_stream_push(stream, 0, &part, &length, &err));
    assert_int_equal(stlora_text_stream_push(stream, 4, &part, &length, &err), STLORA_E_FORMAT);
    assert_ok(stlora_text_stream_push(stream, 1, &part, &length, &err)); /* the stream goes on */
    assert_int_equal(length, 1);
    assert_memory_equal(part, "b", 1);
    stlora_text_stream_free(stream);
    stlora_text_stream_free(NULL);
    stlora_tokenizer_free(tokenizer);
}

static void texts_the_model_cannot_take(void **state)
{
    (void)state;
    static const char no_unk[] =
        "{\"model\":{\"unk_token\":\"<unk>\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    static const char slow[] =
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|a|aa)+c\"},"
        "\"behavior\":\"Isolated\"},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}";
    stlora_error err = {0};
    stlora_tokenizer *tokenizer = NULL;
    assert_ok(
        load_text(&tokenizer, no_unk, sizeof no_unk - 1, NULL, &err)); /* fine until it is needed */
    stlora_free(round_trip(tokenizer, "aa", true));
    refuses_text(tokenizer, "ab", 2, "nor the unknown token '<unk>'");
    stlora_tokenizer_free(tokenizer);

    assert_ok(load_text(&tokenizer, slow, sizeof slow - 1, NULL, &err));
    char text[64];
    memset(text, 'a', sizeof text);
    refuses_text(tokenizer, text, sizeof text, "gave up");
    stlora_tokenizer_free(tokenizer);
}

/* Twelve replacements that make ten of one: a text and a token that would become a million million times as long. */
static void endless_growth(void **state)
{
    (void)state;
    static const char step[] = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaa\"}";
    char steps[12 * sizeof step] = "", text[sizeof steps + 200], *back = NULL;
    size_t length;
    for (int i = 0; i < 12; i++)
        (void)sprintf(steps + strlen(steps), "%s%s", i ? "," : "", step);
    stlora_error err = {0};
    stlora_tokenizer *tokenizer = NULL;
    (void)snprintf(text, sizeof text,
                   "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s]},\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.0}}", steps);
    assert_ok(load_text(&tokenizer, text, strlen(text), NULL, &err));
    refuses_text(tokenizer, "aaa", 3, "the normalizer makes more than");
    stlora_tokenizer_free(tokenizer);
    tokenizer = NULL;
    (void)snprintf(text, sizeof text, "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[%s]},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
                   steps);
    assert_ok(load_text(&tokenizer, text, strlen(text), NULL, &err));
    assert_int_equal(stlora_tokenizer_decode(tokenizer, (const int32_t[]){0}, 1, false, &back, &length, &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "the decoder makes more than"));
    stlora_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_byte_damaged),
        cmocka_unit_test(wrong_model),
        cmocka_unit_test(wrong_added_tokens),
        cmocka_unit_test(wrong_parts),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(wrong_config),
        cmocka_unit_test(wrong_text_and_ids),
        cmocka_unit_test(texts_the_model_cannot_take),
        cmocka_unit_test(endless_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
