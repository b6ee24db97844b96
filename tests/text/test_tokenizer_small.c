/* test_tokenizer_small.c: every normalizer, pre-tokenizer and kind of added token on a vocabulary of single characters, so
 * that what is done to a text and where it is cut can be read off: the last character of each word is marked with $.
 * Expected texts: reasoned from the parts' definitions and equal to what tokenizers 0.23.3 gives for the same JSON. */
#include "small_tokenizer.h"
#include "text/utf8.h"

typedef struct text_case {
    const char *name;
    const char *parts; /* members of tokenizer.json beside the model; NULL: as the case before */
    const char *text, *words;
} text_case;

#define SAME NULL

/* 44 different characters, each also with $: the first added token has id 88. */
static const char characters[] =
    "abcdeABCDE0129 "
    "-.,_!'"
    "\xE2\x96\x81\xC3\xA9\xCC\x81\xC4\xB0i\xCC\x87\xE4\xB8\xAD\xE6\x96\x87\xC2\xB2\xE2\x85\xA7\xC2"
    "\xAB\x09\x0A\xE3\x80\x80\xE2\x80\x8D\xEF\xAC\x81"
    "f\xC2\xA0\xC3\x85\xC3\xA5\xCE\xA3\xCF\x83\xC2\x85";

static const text_case cases[] = {
    {"NFC", "\"normalizer\":{\"type\":\"NFC\"}",
     "e\xCC\x81"
     "a",
     "\xC3\xA9 a$"},
    {"NFC", SAME,
     "A\xCC\x8A"
     "a\xCC\x81",
     "\xC3\x85"},
    {"NFC", SAME, "\xC3\xA9\xCC\x81", "\xC3\xA9 \xCC\x81$"},
    {"NFD", "\"normalizer\":{\"type\":\"NFD\"}",
     "a\xC3\xA9"
     "b",
     "a e \xCC\x81 b$"},
    {"NFD", SAME, "\xC3\xA9\xCC\x81 \xC4\xB0", "e \xCC\x81 \xCC\x81   \xCC\x87$"},
    {"NFKC", "\"normalizer\":{\"type\":\"NFKC\"}",
     "\xEF\xAC\x81\xC2\xB2"
     "e\xCC\x81",
     "f i 2 \xC3\xA9$"},
    {"NFKC", SAME, "\xE2\x85\xA7\xC2\xA0", " $"},
    {"NFKD", "\"normalizer\":{\"type\":\"NFKD\"}", "\xEF\xAC\x81\xC2\xB2\xC3\xA9",
     "f i 2 e \xCC\x81$"},
    {"Lowercase", "\"normalizer\":{\"type\":\"Lowercase\"}",
     "ABc\xC4\xB0\xCE\xA3\xC3\x85\xE4\xB8\xAD", "a b c i \xCC\x87 \xCF\x83 \xC3\xA5 \xE4\xB8\xAD$"},
    {"StripAccents",
     "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":"
     "\"StripAccents\"}]}",
     "a\xC3\xA9\xC4\xB0"
     "b",
     "a e b$"},
    {"Prepend", "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"\\u2581\\u2581\"}", "ab",
     "\xE2\x96\x81 \xE2\x96\x81 a b$"},
    {"Prepend", SAME, "", ""},
    {"Replace string",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"aa\"},\"content\":\"b\"}",
     "aaaca", "b a c a$"},
    {"Replace string", SAME, "caa", "c b$"},
    {"Replace empty string",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"_\"}", "ab",
     "_ a _ b _$"},
    {"Replace regex",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[0-9]+\"},\"content\":\"_\"}",
     "a12b0", "a _ b _$"},
    {"Replace regex", SAME, "12", "_$"},
    {"Replace empty matches",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"b*\"},\"content\":\"_\"}",
     "abba", "_ a _ a _$"},
    {"Strip both", "\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}",
     " \x09\xE3\x80\x80"
     "a b\xC2\x85\x0A ",
     "a   b$"},
    {"Strip both", SAME, "  ", ""},
    {"Strip left", "\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}",
     "  a ", "a  $"},
    {"nested sequence",
     "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"_"
     "\"},{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},{\"type\":\"Replace\","
     "\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]}]}",
     "A b", "_ a \xE2\x96\x81 b$"},
    {"Split Removed",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":"
     "\"Removed\",\"invert\":false}",
     "a-b--c-", "a$ b$ c$"},
    {"Split Removed", SAME, "-a", "a$"},
    {"Split Removed", SAME, "--", ""},
    {"Split inverted Removed",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z]\"},\"behavior\":"
     "\"Removed\",\"invert\":true}",
     "-ab--c", "a$ b$ c$"},
    {"Split Isolated",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":"
     "\"Isolated\",\"invert\":false}",
     "a-b--c-", "a$ -$ b$ -$ -$ c$ -$"},
    {"Split Isolated", SAME, "-a", "-$ a$"},
    {"Split Isolated", SAME, "--", "-$ -$"},
    {"Split inverted Isolated",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z]\"},\"behavior\":"
     "\"Isolated\",\"invert\":true}",
     "-ab--c", "-$ a$ b$ - -$ c$"},
    {"Split MergedWithPrevious",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":"
     "\"MergedWithPrevious\",\"invert\":false}",
     "a-b--c-", "a -$ b -$ -$ c -$"},
    {"Split MergedWithPrevious", SAME, "-a", "-$ a$"},
    {"Split MergedWithPrevious", SAME, "--", "-$ -$"},
    {"Split inverted MergedWithPrevious",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z]\"},\"behavior\":"
     "\"MergedWithPrevious\",\"invert\":true}",
     "-ab--c", "-$ a$ b - -$ c$"},
    {"Split MergedWithNext",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":"
     "\"MergedWithNext\",\"invert\":false}",
     "a-b--c-", "a$ - b$ -$ - c$ -$"},
    {"Split MergedWithNext", SAME, "-a", "- a$"},
    {"Split MergedWithNext", SAME, "--", "-$ -$"},
    {"Split inverted MergedWithNext",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z]\"},\"behavior\":"
     "\"MergedWithNext\",\"invert\":true}",
     "-ab--c", "- a$ b$ - - c$"},
    {"Split Contiguous",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":"
     "\"Contiguous\",\"invert\":false}",
     "a-b--c-", "a$ -$ b$ - -$ c$ -$"},
    {"Split Contiguous", SAME, "-a", "-$ a$"},
    {"Split Contiguous", SAME, "--", "- -$"},
    {"Split inverted Contiguous",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z]\"},\"behavior\":"
     "\"Contiguous\",\"invert\":true}",
     "-ab--c", "-$ a b$ - -$ c$"},
    {"Split lookbehind",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?<=a)b\"},\"behavior\":"
     "\"Isolated\",\"invert\":false}",
     "abcb", "a$ b$ c b$"},
    {"Split lookahead",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?=b)\"},\"behavior\":"
     "\"MergedWithNext\",\"invert\":false}",
     "abcb", "a$ b c$ b$"},
    {"Digits individual", "\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":true}",
     "a12\xC2\xB2\xE2\x85\xA7"
     "b",
     "a$ 1$ 2$ \xC2\xB2$ \xE2\x85\xA7$ b$"},
    {"Digits together", "\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":false}",
     "a12\xC2\xB2\xE2\x85\xA7"
     "b1",
     "a$ 1 2 \xC2\xB2 \xE2\x85\xA7$ b$ 1$"},
    {"Punctuation", "\"pre_tokenizer\":{\"type\":\"Punctuation\"}", "a-!b\xC2\xAB_",
     "a$ -$ !$ b$ \xC2\xAB$ _$"},
    {"Punctuation removed", "\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Removed\"}",
     "a-!b", "a$ b$"},
    {"Whitespace", "\"pre_tokenizer\":{\"type\":\"Whitespace\"}",
     "ab_1 -!  \xC3\xA9\xCC\x81\xE2\x80\x8D"
     "c",
     "a b _ 1$ - !$ \xC3\xA9 \xCC\x81 \xE2\x80\x8D c$"},
    {"Whitespace", SAME, "  ", ""},
    {"WhitespaceSplit", "\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}",
     " ab\xE3\x80\x80"
     "c\xC2\x85"
     "d  ",
     "a b$ c$ d$"},
    {"CharDelimiterSplit",
     "\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}", "a-b--c",
     "a$ b$ c$"},
    {"Metaspace always",
     "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":"
     "\"always\",\"split\":true},\"added_tokens\":[{\"id\":88,\"content\":\"<x>\",\"single_word\":"
     "false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}]",
     "a b", "\xE2\x96\x81 a$ \xE2\x96\x81 b$"},
    {"Metaspace always", SAME, " a<x>b", "\xE2\x96\x81 a$ <x> \xE2\x96\x81 b$"},
    {"Metaspace always", SAME, "<x>b c", "<x> \xE2\x96\x81 b$ \xE2\x96\x81 c$"},
    {"Metaspace first",
     "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":"
     "\"first\",\"split\":true},\"added_tokens\":[{\"id\":88,\"content\":\"<x>\",\"single_word\":"
     "false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}]",
     "a b", "\xE2\x96\x81 a$ \xE2\x96\x81 b$"},
    {"Metaspace first", SAME, " a<x>b", "\xE2\x96\x81 a$ <x> b$"},
    {"Metaspace first", SAME, "<x>b c", "<x> b$ \xE2\x96\x81 c$"},
    {"Metaspace never",
     "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":"
     "\"never\",\"split\":true},\"added_tokens\":[{\"id\":88,\"content\":\"<x>\",\"single_word\":"
     "false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}]",
     "a b", "a$ \xE2\x96\x81 b$"},
    {"Metaspace never", SAME, " a<x>b", "\xE2\x96\x81 a$ <x> b$"},
    {"Metaspace never", SAME, "<x>b c", "<x> b$ \xE2\x96\x81 c$"},
    {"Metaspace whole",
     "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":"
     "\"always\",\"split\":false}",
     "a b", "\xE2\x96\x81 a \xE2\x96\x81 b$"},
    {"Metaspace first after Strip",
     "\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false},\"pre_"
     "tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"first\","
     "\"split\":true}",
     " ab", "a b$"},
    {"Metaspace first after Strip", SAME, "ab", "\xE2\x96\x81 a b$"},
    {"Metaspace first after Replace",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"aa\"},\"content\":\"b\"},"
     "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":"
     "\"first\",\"split\":true}",
     "aab", "b b$"},
    {"Metaspace first after Replace", SAME, "bb", "\xE2\x96\x81 b b$"},
    {"Sequence",
     "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{"
     "\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"Punctuation\",\"behavior\":"
     "\"Isolated\"}]}",
     "ab 12-c", "a b$ 1$ 2$ -$ c$"},
    {"none", "", "a b", "a   b$"},
    {"longest",
     "\"added_tokens\":[{\"id\":88,\"content\":\"ab\",\"single_word\":false,\"lstrip\":false,"
     "\"rstrip\":false,\"normalized\":false,\"special\":false},{\"id\":89,\"content\":\"abc\","
     "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":"
     "false},{\"id\":90,\"content\":\"bc\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
     "\"normalized\":false,\"special\":false}]",
     "abcd", "abc d$"},
    {"longest", SAME, "aabbc", "a$ ab bc"},
    {"longest", SAME, "abbc", "ab bc"},
    {"lstrip",
     "\"added_tokens\":[{\"id\":88,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":true,"
     "\"rstrip\":false,\"normalized\":false,\"special\":false}]",
     "a  <x> b", "a$ <x>   b$"},
    {"lstrip", SAME, " <x><x>  <x>", "<x> <x> <x>"},
    {"rstrip",
     "\"added_tokens\":[{\"id\":88,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":false,"
     "\"rstrip\":true,\"normalized\":false,\"special\":false}]",
     "a <x> \x0A b<x>", "a  $ <x> b$ <x>"},
    {"strip both",
     "\"added_tokens\":[{\"id\":88,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":true,"
     "\"rstrip\":true,\"normalized\":false,\"special\":false},{\"id\":89,\"content\":\"<y>\","
     "\"single_word\":false,\"lstrip\":true,\"rstrip\":false,\"normalized\":false,\"special\":"
     "false}]",
     "a <x>  <y> <x>b", "a$ <x> <y> <x> b$"},
    {"a token of white space takes its neighbours",
     "\"added_tokens\":[{\"id\":88,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":false,"
     "\"rstrip\":true,\"normalized\":false,\"special\":false},{\"id\":14,\"content\":\" "
     "\",\"single_word\":false,\"lstrip\":true,\"rstrip\":true,\"normalized\":false,\"special\":"
     "false}]",
     "a   b", "a$   b$"},
    {"a token of white space takes its neighbours", SAME, "<x>  a", "<x> a$"},
    {"a token of white space takes its neighbours", SAME, " ", " "},
    {"single_word",
     "\"added_tokens\":[{\"id\":88,\"content\":\"<x\",\"single_word\":true,\"lstrip\":false,"
     "\"rstrip\":false,\"normalized\":false,\"special\":false},{\"id\":89,\"content\":\"ab\","
     "\"single_word\":true,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":"
     "false}]",
     "ab abc \xC3\xA9"
     "ab ab-ab _ab ab\xCC\x81 ab",
     "ab   a b c   \xC3\xA9 a b  $ ab -$ ab   _ a b   a b \xCC\x81  $ ab"},
    {"single_word", SAME, "a<x", "a"},
    {"single_word longer wins and is discarded",
     "\"added_tokens\":[{\"id\":88,\"content\":\"ab\",\"single_word\":false,\"lstrip\":false,"
     "\"rstrip\":false,\"normalized\":false,\"special\":false},{\"id\":89,\"content\":\"abc\","
     "\"single_word\":true,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":"
     "false}]",
     "abcd abc abd", "a b c d  $ abc  $ ab d$"},
    {"normalized",
     "\"added_tokens\":[{\"id\":88,\"content\":\"AB\",\"single_word\":false,\"lstrip\":false,"
     "\"rstrip\":false,\"normalized\":true,\"special\":false},{\"id\":89,\"content\":\"CD\","
     "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":"
     "false}],\"normalizer\":{\"type\":\"Lowercase\"}",
     "xABab CDcd", "ab ab  $ CD c d$"},
    {"normalized with Prepend",
     "\"added_tokens\":[{\"id\":88,\"content\":\"ab\",\"single_word\":false,\"lstrip\":false,"
     "\"rstrip\":false,\"normalized\":true,\"special\":false}],\"normalizer\":{\"type\":"
     "\"Prepend\",\"prepend\":\"\\u2581\"}",
     "abc ab",
     "\xE2\x96\x81"
     "ab c   a b$"},
    {"added inside normal text",
     "\"added_tokens\":[{\"id\":88,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":false,"
     "\"rstrip\":false,\"normalized\":false,\"special\":false},{\"id\":22,\"content\":\"\\u00e9\","
     "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":true,\"special\":"
     "false}],\"normalizer\":{\"type\":\"NFC\"}",
     "e\xCC\x81<x>\xC3\xA9", "\xC3\xA9 <x> \xC3\xA9"},
};

static json_t *character_model(void)
{
    json_t *vocab = json_object();
    for (int marked = 0; marked < 2; marked++) {
        for (const char *at = characters; *at;) {
            char key[8];
            size_t size = 1;
            while ((at[size] & 0xC0) == 0x80)
                size++;
            (void)snprintf(key, sizeof key, "%.*s%s", (int)size, at, marked ? "$" : "");
            if (!json_object_get(vocab, key))
                json_object_set_new(vocab, key, json_integer((json_int_t)json_object_size(vocab)));
            at += size;
        }
    }
    json_t *model = json_object();
    json_object_set_new(model, "vocab", vocab);
    json_object_set_new(model, "end_of_word_suffix", json_string("$"));
    return model;
}

static void each_part(void **state)
{
    (void)state;
    stlora_tokenizer *tokenizer = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].parts) {
            stlora_tokenizer_free(tokenizer);
            json_t *root = object_of(cases[i].parts);
            json_object_set_new(root, "model", character_model());
            tokenizer = tokenizer_of(root);
            json_decref(root);
        }
        char *words = round_trip(tokenizer, cases[i].text, false);
        if (strcmp(words, cases[i].words) != 0)
            fail_msg("%s: '%s' gives '%s', wanted '%s'", cases[i].name, cases[i].text, words,
                     cases[i].words);
        stlora_free(words);
    }
    stlora_tokenizer_free(tokenizer);
}

/* ByteLevel on a vocabulary of the 256 letters, once with GPT-2's pattern: words and bytes can be counted. */
/* A letter for each byte, whose id is the byte. */
static json_t *byte_vocabulary(void)
{
    json_t *vocab = json_object();
    unsigned others = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        /* 188 bytes are their own letter, the others are U+0100 and following in their order. */
        bool printable =
            (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        unsigned point = printable ? byte : 0x100 + others++;
        char letter[3] = {(char)point, 0, 0};
        if (point >= 0x80) {
            letter[0] = (char)(0xC0 | point >> 6);
            letter[1] = (char)(0x80 | (point & 0x3F));
        }
        json_object_set_new(vocab, letter, json_integer((json_int_t)byte));
    }
    return vocab;
}

static void byte_level_spells_every_byte(void **state)
{
    (void)state;
    json_t *root = object_of("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                             "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"}");
    json_object_set_new(root, "model", json_pack("{s:o}", "vocab", byte_vocabulary()));
    stlora_tokenizer *tokenizer = tokenizer_of(root);
    json_decref(root);
    stlora_error err = {0};
    stlora_ids ids = {0};
    static const char text[] = "\0a\n\xC2\xAD\xE4\xB8\xAD\x7F\xF0\x9F\x98\x80";
    assert_ok(stlora_tokenizer_encode(tokenizer, text, sizeof text - 1, true, &ids, &err));
    assert_int_equal(ids.count, sizeof text);
    assert_int_equal(ids.data[0], ' '); /* put in front */
    for (size_t i = 1; i < ids.count; i++)
        assert_int_equal(ids.data[i], (unsigned char)text[i - 1]);
    ids.count = 0;
    for (int32_t byte = 0; byte < 256; byte++)
        assert_ok(stlora_ids_push(&ids, byte, &err));
    char *back = NULL;
    size_t length = 0;
    assert_ok(stlora_tokenizer_decode(tokenizer, ids.data, 128, false, &back, &length, &err));
    assert_int_equal(length, 128);
    for (int i = 0; i < 128; i++)
        assert_int_equal(back[i], i);
    stlora_free(back);
    stlora_ids_free(&ids);
    stlora_tokenizer_free(tokenizer);
}

/* A code point of any plane; those of one, two and three bytes are as frequent as those of four. */
static uint32_t any_point(uint64_t *random)
{
    static const uint32_t ends[] = {0x80, 0x800, 0x10000, 0x110000};
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    uint32_t point = (uint32_t)(*random >> 32) % ends[*random & 3];
    return point >= 0xD800 && point < 0xE000 ? 0xFFFD : point;
}

/* decode(encode(x)) is x for byte-level tokenizers, whatever the text: the patterns of the families, merges within and over characters, texts of
 * random code points of all planes. */
static void byte_level_gives_back_every_text(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+",
        ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
         "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"),
        "[\\\\p{Lu}\\\\p{M}]*[\\\\p{Ll}\\\\p{M}]+|\\\\p{N}|x"}; /* the last one leaves much unmatched */
    uint64_t random = UINT64_C(88172645463325252);
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        char members[1200];
        (void)snprintf(members, sizeof members,
                       "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},"
                       "\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
                       "\"decoder\":{\"type\":\"ByteLevel\"}",
                       patterns[p]);
        json_t *root = object_of(members), *vocab = byte_vocabulary();
        static const char *const pairs[][2] = {{"\u00c3", "\u00a9"}, {"a", "b"}, {"\u00f0", "\u0141"}, {"\u0120", "a"}, {"ab", "\u00c3\u00a9"}};
        json_t *merges = json_array();
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
            char joined[32];
            (void)snprintf(joined, sizeof joined, "%s%s", pairs[i][0], pairs[i][1]);
            json_object_set_new(vocab, joined, json_integer(256 + (json_int_t)i));
            json_array_append_new(merges, json_pack("[s,s]", pairs[i][0], pairs[i][1]));
        }
        json_object_set_new(root, "model", json_pack("{s:o,s:o}", "vocab", vocab, "merges", merges));
        stlora_tokenizer *tokenizer = tokenizer_of(root);
        json_decref(root);
        for (int t = 0; t < 3000; t++) {
            stlora_error err = {0};
            stlora_ids ids = {0};
            char text[4 * 40], *back = NULL;
            size_t length = 0, back_length = 0, points = 1 + (size_t)(random >> 8) % 40;
            for (size_t i = 0; i < points; i++)
                length += stlora_utf8_write(any_point(&random), text + length);
            assert_ok(stlora_tokenizer_encode(tokenizer, text, length, true, &ids, &err));
            assert_ok(stlora_tokenizer_decode(tokenizer, ids.data, ids.count, false, &back, &back_length, &err));
            assert_int_equal(back_length, length);
            assert_memory_equal(back, text, length);
            stlora_free(back);
            stlora_ids_free(&ids);
        }
        stlora_tokenizer_free(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part),
        cmocka_unit_test(byte_level_spells_every_byte),
        cmocka_unit_test(byte_level_gives_back_every_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
