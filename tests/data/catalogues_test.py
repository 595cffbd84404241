import os
from unittest import mock

import hypothesis
import hypothesis.strategies as st
from absl.testing import parameterized

from tests.data import mo_files
from tests.test_case import TestCase
from tfshrink.data import catalogues
from tfshrink.data.catalogues import read_catalogue
from tfshrink.errors import UserError

MESSAGES = {
    "Open file": "Deschide fișierul",
    "Cannot open %s: {reason}\n": "Nu pot deschide %s: {reason}\n",
    "Menu\x04_Save": "_Salvează",
    "one file\0%d files": "un fișier\0%d fișiere\0%d de fișiere",
}


class CataloguesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def read(self, messages, charset="utf-8"):
        path = mo_files.write(self.folder, "one", messages, charset)
        return read_catalogue(path)

    def test_pairs_without_header_plurals_and_contexts(self):
        self.assertEqual(
            self.read(MESSAGES),
            [
                ("Open file", "Deschide fișierul"),
                ("Cannot open %s: {reason}", "Nu pot deschide %s: {reason}"),
                ("Save", "Salvează"),
            ],
        )

    @parameterized.parameters(
        ("Linux", "Linux"),
        ("_OK", "_OK"),
        ("Close", ""),
        ("%s: %d", "%s, %d"),
        ("Long " * 81, "Lung"),
        ("Long", "Lung " * 81),
    )
    def test_unusable_pairs_are_left_out(self, source, target):
        self.assertEqual(self.read({source: target}), [])

    def test_romanian_is_composed_and_has_commas_below(self):
        wanted = [("Close\u00e9 it", "Înși\u0219i \u021bara\u0103")]
        found = {"Close\u0065\u0301 it": "Înși\u015fi \u0163ara\u0103"}
        self.assertEqual(self.read(found), wanted)

    def test_other_encodings(self):
        pairs = [("Close", "Închidere")]
        self.assertEqual(self.read(dict(pairs), "iso-8859-2"), pairs)

    @parameterized.parameters(
        ("_File", "_Fișier", "File", "Fișier"),
        ("C_onnect", "Cone_ctează", "Connect", "Conectează"),
        ("&Save as...", "Salvează &ca...", "Save as...", "Salvează ca..."),
        ("~Back", "Îna~poi", "Back", "Înapoi"),
        ("_JDBC driver", "Driver _JDBC", "JDBC driver", "Driver JDBC"),
        # names, and signs of one side alone, stay
        ("bad key_id", "key_id greșit", "bad key_id", "key_id greșit"),
        ("no _exit", "fără _exit", "no _exit", "fără _exit"),
        ("BUS_NAME", "NUME_AICI", "BUS_NAME", "NUME_AICI"),
        ("_Edit", "Editare", "_Edit", "Editare"),
        ("R&D", "C&D", "R&D", "C&D"),
        ("Audio & Video", "Audio & video", "Audio & Video", "Audio & video"),
        ("a_b c_d", "b_a d_c", "a_b c_d", "b_a d_c"),
        ("bg [a_spec]", "bg [o_spec]", "bg [a_spec]", "bg [o_spec]"),
    )
    def test_accelerators_match_table_by_hand(self, a, b, source, target):
        found = catalogues.strip_accelerators(a, b)
        self.assertEqual(found, (source, target))

    def test_damaged_files_are_named(self):
        path = os.path.join(self.folder, "bad.mo")
        with self.assertRaisesRegex(UserError, "bad.mo .* No such file"):
            read_catalogue(path)
        whole = mo_files.catalogue(MESSAGES)
        wrong = whole.replace(b"charset=utf-8", b"charset=utf-9")
        for data in (b"", b"text", whole[:200], wrong):
            with open(path, "wb") as file:
                file.write(data)
            with self.assertRaisesRegex(UserError, "bad.mo must be a message"):
                read_catalogue(path)

    def test_mutated_bytes_raise_nothing_but_user_errors(self):
        whole = mo_files.catalogue(MESSAGES)
        path = os.path.join(self.folder, "mutated.mo")
        places = st.integers(0, len(whole) - 1)

        @hypothesis.settings(
            max_examples=200, deadline=None, derandomize=True, database=None
        )
        @hypothesis.given(
            st.dictionaries(places, st.integers(0, 255), max_size=8),
            places,
        )
        def check(changes, cut):
            data = bytearray(whole)
            for place, value in changes.items():
                data[place] = value
            with open(path, "wb") as file:
                file.write(data if cut % 2 else data[:cut])
            try:
                for pair in read_catalogue(path):
                    "".join(pair).encode()
            except UserError as error:
                self.assertNotIn("\n", str(error))

        check()

    def test_packages_and_shared_folders_are_looked_at(self):
        packages = os.path.join(self.folder, "site-packages")
        wanted = [
            mo_files.write(os.path.join(folder, "share"), "tool", MESSAGES)
            if folder == self.folder
            else mo_files.write(folder, "web", MESSAGES)
            for folder in (
                self.folder,
                packages,
                os.path.join(packages, "web", "conf"),
            )
        ]
        deep = os.path.join(packages, *"abcd")
        unwanted = [mo_files.write(deep, "deep", MESSAGES)]
        copy = os.path.join(os.path.dirname(wanted[0]), "tool_copy.mo")
        os.symlink(wanted[0], copy)
        with (
            mock.patch.object(catalogues.sys, "prefix", self.folder),
            mock.patch.object(catalogues.sys, "path", [packages, "."]),
        ):
            found = catalogues.catalogue_paths()
        self.assertContainsSubset(wanted, found)
        self.assertNoCommonElements([*unwanted, copy], found)

    def test_names_do_not_depend_on_the_machine(self):
        path = mo_files.write(os.path.join(self.folder, "admin"), "web", {})
        self.assertEqual(catalogues.catalogue_name(path), "admin/web")
        self.assertEqual(catalogues.catalogue_name("/web.mo"), "web")
