import errno
import pathlib
from unittest import mock

from huggingface_hub import errors

from tests.golden import random_checkpoints
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.sources import open_source


class HubTest(TestCase):
    def _open(self, name="org/name", **options):
        with mock.patch("huggingface_hub.snapshot_download", **options) as call:
            return open_source(name), call

    def test_small_files_first_weights_when_read(self):
        folder = pathlib.Path(self.create_tempdir().full_path) / "c0ffee"
        random_checkpoints.write_checkpoint(folder, "gpt2")
        with mock.patch(
            "huggingface_hub.snapshot_download", return_value=str(folder)
        ) as call:
            source = open_source("org/name")
            self.assertEqual(source.config.name, "org/name")
            self.assertEqual(
                source.identity, {"name": "org/name", "revision": "c0ffee"}
            )
            patterns = call.call_args.kwargs["allow_patterns"]
            self.assertNotIn("*.safetensors", patterns)
            self.assertEqual(call.call_count, 1)
            self.assertLen(dict(source.weights()), 36)
            self.assertEqual(call.call_count, 2)
            options = call.call_args.kwargs
        self.assertEqual(options["allow_patterns"], ["*.safetensors"])
        self.assertEqual(options["revision"], "c0ffee")

    def test_no_network_names_the_offline_default(self):
        # tests/conftest.py puts the hub offline: this one is not mocked.
        with self.assertRaisesRegex(
            UserError, "--model=gpt2.*--model=smollm2-135m"
        ) as caught:
            open_source("gpt2")
        self.assertNotIn("\n", str(caught.exception))

    def test_each_failure_is_one_line(self):
        full = OSError(errno.ENOSPC, "No space left on device")
        for error, message in (
            (
                errors.RepositoryNotFoundError("x", response=mock.MagicMock()),
                "no",
            ),
            (errors.GatedRepoError("x", response=mock.MagicMock()), "terms"),
            (errors.HFValidationError("x\ny"), "org/name"),
            (errors.LocalEntryNotFoundError("down\nmore"), "smollm2-135m"),
            (ConnectionError("Name not known"), "Name not known.*smollm2"),
            (full, "disk is full"),
        ):
            with self.assertRaisesRegex(UserError, message) as caught:
                self._open(side_effect=error)
            self.assertIn("--model=org/name", str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))
