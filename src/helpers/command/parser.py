"""The words of the command line of ``run_all.sh``, and what ``--help`` says of them."""

import argparse
from typing import NoReturn

from helpers.errors import InputError

PROGRAM = "run_all.sh"
DTYPES = ("float32", "bfloat16", "float16")  # those of helpers.models, which loads torch
CONTROLS = ("none", "untrained")


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see ./{PROGRAM} --help)")


def make() -> Parser:
    """The parser; what is not given is ``None``."""
    parser = Parser(
        prog=PROGRAM, description="Regenerate every figure of the paper, for any decoder.", allow_abbrev=False
    )
    option = parser.add_argument
    option("--model", action="append", metavar="NAME", help="alias, Hub id or folder, with @revision or @untrained")
    option("--preset", default="pocket", metavar="NAME", help="models and parameters from presets/NAME.yaml")
    option("--checkpoints", metavar="R[,R]", help="also run the paper's experiments on these revisions of the model")
    option("--corpus", metavar="C", help="bundled, a .txt, .jsonl or .parquet file, a folder, or hf:NAME")
    option("--tokens", type=int, metavar="N", help="evaluate on about N tokens")
    option("--context", type=int, metavar="N", help="tokens per sequence, BOS included")
    option("--only", metavar="SLUG[,SLUG]", help="some experiments only")
    option("--control", choices=CONTROLS, help="also run the model's untrained twin")
    option("--device", metavar="D", help="auto, cpu, cuda, ..., or a device map: balanced, sequential, FILE.json")
    option("--dtype", choices=DTYPES)
    option("--batch-size", metavar="N", help="sequences at once: a number, or auto")
    option("--seed", type=int, metavar="N", help="of the bootstrap and the untrained twin")
    option("--jobs", type=int, metavar="N", help="notebooks at a time, each with its share of the processors")
    option("--shards", type=int, default=1, metavar="N", help="measure long texts in N parts, each by itself")
    option("--shard", type=int, metavar="I", help="measure the I-th part only, of one model and experiment")
    option("--output", metavar="DIR", help="where figures/ and results/ go (default: the repository)")
    option("--force", action="store_true", help="rerun what is up to date")
    option("--refresh", action="store_true", help="rerun pocket and rewrite the committed notebooks' outputs")
    option("--no-pages", action="store_true", help="leave out claims, report and explorer")
    option("--verify", action="store_true", help="run it all again elsewhere and compare with the tables stored")
    option("--list", action="store_true", help="print the jobs and stop")
    return parser
