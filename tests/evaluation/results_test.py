import json
import os

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation import results as lib


def _results(**changes):
    plan = {"name": "W8", "plan": {"bits": 8}, "perplexity": 15.0}
    return lib.build_results(
        "tiny",
        {"perplexity": 12.0, "bytes": 100},
        [{**plan, **changes}],
        seconds=1.23456,
    )


class ResultsTest(TestCase):
    def test_ratio_is_against_the_reference(self):
        plan = _results()["plans"][0]
        self.assertEqual(plan["perplexity_ratio"], 1.25)
        plan = _results(perplexity_ratio=1.5)["plans"][0]
        self.assertEqual(plan["perplexity_ratio"], 1.5)
        plan = _results(perplexity=None)["plans"][0]
        self.assertNotIn("perplexity_ratio", plan)

    def test_round_trip_through_a_run_folder(self):
        folder = self.create_tempdir().full_path
        results = _results()
        lib.write_results(os.path.join(folder, "results.json"), results)
        self.assertEqual(lib.read_results(folder), results)
        self.assertEqual(results["seconds"], 1.235)

    def test_environment_names_no_host_and_no_folder(self):
        text = json.dumps(_results()["environment"])
        self.assertNotIn(os.uname().nodename, text)
        self.assertNotIn(os.path.expanduser("~"), text)
        self.assertNotIn(os.getcwd(), text)

    def test_command_can_be_typed_again(self):
        argv = ["/some/clone/bin/train", "--plan=8", "--exp_name=a b"]
        self.assertEqual(
            lib.command_line(argv), "bin/train --plan=8 '--exp_name=a b'"
        )
        self.assertEqual(lib.command_line(["/x/y/tool"]), "tool")
        found = lib.origin()
        self.assertEqual(found["command"], lib.command_line())
        self.assertIn("python", found["environment"]["versions"])

    def test_bad_files_are_named(self):
        folder = self.create_tempdir()
        with self.assertRaisesRegex(UserError, "does not exist"):
            lib.read_results(folder.full_path)
        file = folder.create_file("cut.json", content='{"model": ')
        with self.assertRaisesRegex(UserError, "cut.json must be valid JSON"):
            lib.read_results(file.full_path)
        file = folder.create_file("part.json", content='{"model": "x"}')
        with self.assertRaisesRegex(UserError, "part.json must have `refer"):
            lib.read_results(file.full_path)
        file = folder.create_file("list.json", content="[]")
        with self.assertRaisesRegex(UserError, "JSON object"):
            lib.read_results(file.full_path)

    def test_a_wrong_kind_is_refused(self):
        with self.assertRaisesRegex(UserError, "`name` must be str"):
            _results(name=3)
        with self.assertRaisesRegex(UserError, "`bytes`"):
            lib.build_results("x", {"perplexity": 1.0}, [], seconds=0)
