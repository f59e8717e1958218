from src.core.receipt import folder_md5
from src.revision.pipeline import output_md5


def test_the_hash_of_a_folder_that_several_outputs_lie_in_is_the_folders() -> None:
    outs = {"data/raw/a": "1", "data/raw/b": "2", "data2/c": "3", "model": "4"}
    assert output_md5(outs, "model") == "4"
    assert output_md5(outs, "data") == folder_md5({"raw/a": "1", "raw/b": "2"})
    assert output_md5(outs, "dat") is None
    assert output_md5({**outs, "data/raw/d": None}, "data") is None
