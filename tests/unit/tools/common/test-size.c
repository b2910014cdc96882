/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes on command lines and in reports. */
#include "tools/common/size.h"

#include <errno.h>
#include <glib.h>

static void expect(const char *text, int ret, uint64_t value)
{
    uint64_t got = 0;

    g_test_message("%s", text);
    g_assert_cmpint(size_from_text(text, &got), ==, ret);
    g_assert_cmpuint(got, ==, value);
}

static void test_suffixes(void)
{
    expect("0", 0, 0);
    expect("7", 0, 7);
    expect("08", 0, 8);
    expect("1b", 0, 1);
    expect("1K", 0, 1024);
    expect("1k", 0, 1024);
    expect("3m", 0, 3 << 20);
    expect("1G", 0, 1 << 30);
    expect("2T", 0, UINT64_C(2) << 40);
    expect("8191P", 0, UINT64_C(8191) << 50);
    expect("15E", 0, UINT64_C(15) << 60);
    expect(" +5", 0, 5);
    expect("0x10", 0, 16);
    expect("0X10k", 0, 16384);
    expect("0x1b", 0, 27);
}

static void test_fractions(void)
{
    expect("1.", 0, 1);
    expect("1.0", 0, 1);
    expect("1.5k", 0, 1536);
    expect("0.7k", 0, 717); /* rounded */
    expect("1.9999999999k", 0, 2048);
    expect("0.0000001E", 0, UINT64_C(115292150461));
    expect("1.5", -EINVAL, 0);
    expect("0.1b", -EINVAL, 0);
}

static void test_refused(void)
{
    static const char *const texts[] = {
        "", " ", "k", "-1", "+", "x", "1kb", "1kk", "1e3", ".5k", "1,5k",
        "nan", "inf", "0x", "0xg", "1.5e1k", "1 k", "1k ", "++1", "1.x",
        "0x1.8k",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        expect(texts[i], -EINVAL, 0);
    }
}

static void test_range(void)
{
    expect("18446744073709551615", 0, UINT64_MAX);
    expect("18446744073709551616", -ERANGE, 0);
    expect("16E", -ERANGE, 0);
    expect("15.99999999999999999999999E", -ERANGE, 0);
    expect("99999999999999999999k", -ERANGE, 0);
}

static void test_hex_suffix(void)
{
    g_assert_true(size_has_hex_suffix("0x10k"));
    g_assert_false(size_has_hex_suffix("0x1b"));
    g_assert_false(size_has_hex_suffix("10k"));
    g_assert_false(size_has_hex_suffix("0x"));
    g_assert_false(size_has_hex_suffix("0xzk"));
}

static void expect_shown(uint64_t value, const char *expected)
{
    g_autofree char *text = size_to_str(value);

    g_assert_cmpstr(text, ==, expected);
}

static void test_shown(void)
{
    expect_shown(0, "0 B");
    expect_shown(999, "999 B");
    expect_shown(1000, "0.977 KiB");
    expect_shown(1024, "1 KiB");
    expect_shown(196 << 10, "196 KiB");
    expect_shown(2293760, "2.19 MiB");
    expect_shown(1 << 30, "1 GiB");
    expect_shown(UINT64_MAX, "16 EiB");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/size/suffixes", test_suffixes);
    g_test_add_func("/size/fractions", test_fractions);
    g_test_add_func("/size/refused", test_refused);
    g_test_add_func("/size/range", test_range);
    g_test_add_func("/size/hex-suffix", test_hex_suffix);
    g_test_add_func("/size/shown", test_shown);
    return g_test_run();
}
