/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --object of the image tools: secrets. They are checked as QEMU's tools
 * check them, so that a script which always hands one over runs; no driver
 * here decrypts anything, so that nothing is kept but the name.
 */
#include "objects.h"

#include "message.h"

#include "block/options.h"

#include <stdio.h>
#include <string.h>

static GHashTable *ids; /* set of strings, owned */

static bool need(Options *opts, const char *key, char **value, GError **error)
{
    if (!options_has(opts, key)) {
        return error_setg(error, "Parameter '%s' is missing", key);
    }
    return options_take_str(opts, key, value, error);
}

static bool check_id(const char *id, GError **error)
{
    if (!g_ascii_isalpha(*id) ||
        id[strspn(id, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-._")]) {
        return error_setg(error, "Parameter 'id' expects an identifier\n"
                          "Identifiers consist of letters, digits, '-', "
                          "'.', '_', starting with a letter.");
    }
    if (ids && g_hash_table_contains(ids, id)) {
        return error_setg(error, "attempt to add duplicate property '%s' to "
                          "object (type 'container')", id);
    }
    return true;
}

typedef struct Secret {
    char *data, *file, *format, *keyid, *iv;
} Secret;

static void secret_clear(Secret *secret)
{
    g_free(secret->data);
    g_free(secret->file);
    g_free(secret->format);
    g_free(secret->keyid);
    g_free(secret->iv);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Secret, secret_clear)

static bool check_source(const Secret *secret, GError **error)
{
    g_autofree char *contents = NULL;
    g_autoptr(GError) read_error = NULL;

    if (secret->data && secret->file) {
        return error_setg(error, "'file' and 'data' are mutually exclusive");
    }
    if (!secret->data && !secret->file) {
        return error_setg(error, "Either 'file' or 'data' must be provided");
    }
    if (secret->file &&
        !g_file_get_contents(secret->file, &contents, NULL, &read_error)) {
        return error_setg(error, "Unable to read %s: %s", secret->file,
                          read_error->message);
    }
    return true;
}

static bool check_format(const Secret *secret, GError **error)
{
    if (secret->format && strcmp(secret->format, "raw") != 0 &&
        strcmp(secret->format, "base64") != 0) {
        return error_setg(error, "Parameter 'format' does not accept value "
                          "'%s'", secret->format);
    }
    if (secret->keyid) {
        return error_setg(error, "secrets encrypted with another one "
                          "(keyid=%s) are not supported", secret->keyid);
    }
    return true;
}

static bool check_finished(Options *opts, GError **error)
{
    g_autofree char *left = options_first_key(opts);

    return !left || error_setg(error, "Parameter '%s' is unexpected", left);
}

static bool check_secret(Options *opts, GError **error)
{
    g_auto(Secret) secret = { 0 };

    return options_take_str(opts, "data", &secret.data, error) &&
           options_take_str(opts, "file", &secret.file, error) &&
           options_take_str(opts, "format", &secret.format, error) &&
           options_take_str(opts, "keyid", &secret.keyid, error) &&
           options_take_str(opts, "iv", &secret.iv, error) &&
           check_finished(opts, error) && check_format(&secret, error) &&
           check_source(&secret, error);
}

bool object_add(const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--object", "qom-type",
                                            error);
    g_autofree char *type = NULL, *id = NULL;

    if (!opts || !need(opts, "qom-type", &type, error)) {
        return false;
    }
    if (strcmp(type, "secret") != 0) {
        return error_setg(error, "Parameter 'qom-type' does not accept value "
                          "'%s'", type);
    }
    if (!need(opts, "id", &id, error) || !check_id(id, error) ||
        !check_secret(opts, error)) {
        return false;
    }
    if (!ids) {
        ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
    g_hash_table_add(ids, g_steal_pointer(&id));
    return true;
}

static const char types_help[] =
"List of user creatable objects:\n"
"  secret\n";

static const char secret_help[] =
"secret options:\n"
"  data=<string>\n"
"  file=<string>\n"
"  format=<QCryptoSecretFormat>\n"
"  iv=<string>\n"
"  keyid=<string>\n";

bool object_help(const char *text)
{
    if (strcmp(text, "help") == 0 || strcmp(text, "?") == 0) {
        fputs(types_help, stdout);
        return true;
    }
    if (strcmp(text, "secret,help") == 0 || strcmp(text, "secret,?") == 0) {
        fputs(secret_help, stdout);
        return true;
    }
    return false;
}

void object_free_all(void)
{
    g_clear_pointer(&ids, g_hash_table_unref);
}
