import subprocess
import sys

import pytest

import semreid


def test_public_names_are_these_and_no_others() -> None:
    assert sorted(semreid.__all__) == [
        "Card",
        "Gallery",
        "Protocol",
        "ReIDDataset",
        "ReIDModel",
        "Recipe",
        "Report",
        "Sample",
        "SemreidError",
        "__version__",
        "create_model",
        "evaluate",
        "functional",
        "load_dataset",
        "load_model",
        "load_recipe",
        "load_verifier",
        "train",
    ]
    assert all(hasattr(semreid, name) for name in semreid.__all__)


def test_importing_it_is_light() -> None:
    heavy = ["numba", "pyarrow", "tensorboard", "h5py", "scipy", "timm", "torchvision", "typer", "sklearn"]
    heavy += ["matplotlib", "pymilvus", "milvus_lite", "pandas", "faiss"]
    code = f"import sys, semreid; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_package_that_is_missing_is_not_taken_for_a_module_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def needs_another(name: str) -> None:
        raise ModuleNotFoundError("No module named 'another'", name="another")

    monkeypatch.setattr(semreid, "import_module", needs_another)
    with pytest.raises(ModuleNotFoundError, match="No module named 'another'"):
        semreid.__getattr__("anything")
    monkeypatch.undo()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = semreid.nothing  # type: ignore[attr-defined]
