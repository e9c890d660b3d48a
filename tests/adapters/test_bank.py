"""The bank: which adapters are in memory and for how long. A leased one never changes and is never dropped."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from adapters.bank import AdapterBank
from adapters.store.adapter_store import AdapterStore
from benchmarks.speed import workload
from models.adapter_weights import AdapterWeights
from models.compiled_adapters import CompiledAdapter, CompiledAdapterPacker, as_compiled
from models.core.errors import UserError
from models.lora.weights import PackedLora, add_packed, pack_lora
from models.packing.llama_shape import LlamaShape
from tests.adapters.folders import SHAPE, put, remove

ONE = pack_lora(SHAPE, workload.adapter(SHAPE, "one", 0, 4)).tensor.nbytes

MakeBank = Callable[..., AdapterBank]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b", "c")):
        put(tmp_path / "adapters", name, seed)
    return tmp_path / "adapters"


@pytest.fixture
def make_bank(directory: Path, tmp_path: Path) -> Iterator[MakeBank]:
    made = []

    def make(budget: int = 100 * ONE) -> AdapterBank:
        made.append(
            AdapterBank(AdapterStore(directory), budget, CompiledAdapterPacker(SHAPE, tmp_path / "packed"))
        )
        return made[-1]

    yield make
    for bank in made:
        bank.close()


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The adapters that were packed from their tensors, in order."""
    packed: list[str] = []
    pack = CompiledAdapterPacker.pack

    def noting(packer: CompiledAdapterPacker, adapter: AdapterWeights) -> CompiledAdapter:
        packed.append(adapter.name)
        return pack(packer, adapter)

    monkeypatch.setattr(CompiledAdapterPacker, "pack", noting)
    return packed


def resident(bank: AdapterBank) -> list[str]:
    return [each.spec for each in bank.residents()]


def weights(bank: AdapterBank, spec: str) -> PackedLora:
    with bank.acquire(spec) as lease:
        assert lease.weights is not None
        return as_compiled(lease.weights).lora


def expected(store: AdapterStore, name: str) -> PackedLora:
    return pack_lora(SHAPE, store.load(name).weights.lora)


# -- what is in memory ------------------------------------------------------------------------------------


def test_an_adapter_is_loaded_once_and_is_what_its_files_say(
    make_bank: MakeBank, directory: Path, packings: list[str]
) -> None:
    bank = make_bank()
    first = weights(bank, "a")
    assert np.array_equal(first.tensor, expected(AdapterStore(directory), "a").tensor)
    assert weights(bank, "a") is first
    assert packings == ["a"]


def test_no_adapter_is_a_lease_too(make_bank: MakeBank) -> None:
    with make_bank().acquire(None) as lease:
        assert lease.weights is None


def test_another_run_maps_what_the_first_one_packed(make_bank: MakeBank, packings: list[str]) -> None:
    bank = make_bank()
    first = weights(bank, "a")
    bank.close()  # what is left to write is written
    again = weights(make_bank(), "a")
    assert packings == ["a"]
    assert again.generation == first.generation
    assert np.array_equal(again.tensor, first.tensor)


def test_the_least_recently_used_are_dropped_beyond_the_budget(make_bank: MakeBank) -> None:
    bank = make_bank(budget=2 * ONE)
    for name in ("a", "b", "a", "c"):
        weights(bank, name)
    assert resident(bank) == ["a", "c"]
    assert sum(each.size for each in bank.residents()) <= 2 * ONE


def test_leased_adapters_stay_beyond_the_budget_until_released(make_bank: MakeBank) -> None:
    bank = make_bank(budget=ONE)
    with bank.acquire("a") as held, bank.acquire("b"):
        assert held.weights is not None
        before = as_compiled(held.weights).lora
        assert sorted(resident(bank)) == ["a", "b"]
        assert weights(bank, "a") is before
    assert resident(bank) == ["a"]


def test_an_adapter_larger_than_the_budget_can_be_used(make_bank: MakeBank) -> None:
    bank = make_bank(budget=1)
    weights(bank, "a")
    weights(bank, "b")
    assert resident(bank) == ["b"]


def test_a_lease_counts_until_its_last_release(make_bank: MakeBank) -> None:
    bank = make_bank()
    first, second = bank.acquire("a"), bank.acquire("a")
    assert [each.leases for each in bank.residents()] == [2]
    first.release()
    first.release()
    assert [each.leases for each in bank.residents()] == [1]
    second.release()
    assert [each.leases for each in bank.residents()] == [0]


# -- what happens to the files ----------------------------------------------------------------------------


def test_a_replaced_adapter_changes_for_the_next_lease_alone(make_bank: MakeBank, directory: Path) -> None:
    bank = make_bank()
    with bank.acquire("a") as old:
        assert old.weights is not None
        before = old.weights.lora.tensor.copy()
        put(directory, "a", seed=99)
        new = weights(bank, "a")
        assert new.generation != old.weights.generation
        assert not np.array_equal(new.tensor, before)
        assert np.array_equal(old.weights.lora.tensor, before)
        assert resident(bank) == ["a", "a"]
    assert resident(bank) == ["a"]
    assert weights(bank, "a") is new


def test_a_removed_adapter_ends_with_its_last_lease(make_bank: MakeBank, directory: Path) -> None:
    bank = make_bank()
    with bank.acquire("a") as held:
        assert held.weights is not None
        before = as_compiled(held.weights).lora.tensor.copy()
        remove(directory, "a")
        with pytest.raises(UserError, match="no adapter 'a'"):
            bank.acquire("a")
        assert np.array_equal(as_compiled(held.weights).lora.tensor, before)
    assert resident(bank) == []
    put(directory, "a")
    weights(bank, "a")


def test_the_same_files_again_are_the_same_adapter(make_bank: MakeBank, directory: Path) -> None:
    bank = make_bank()
    before = weights(bank, "a").generation
    put(directory, "a", seed=0)
    assert weights(bank, "a").generation == before


def test_a_damaged_adapter_is_refused_each_time_and_works_once_repaired(
    make_bank: MakeBank, directory: Path
) -> None:
    bank = make_bank()
    (directory / "a" / "adapter_model.safetensors").write_bytes(b"nonsense")
    bank.prefetch("a")
    for _ in range(2):
        with pytest.raises(UserError, match=r"adapter_model\.safetensors"):
            bank.acquire("a")
    put(directory, "a")
    weights(bank, "a")


def test_an_adapter_of_another_model_is_refused(make_bank: MakeBank, directory: Path) -> None:
    put(directory, "wide", shape=LlamaShape(192, 160, 2, 6, 2, 16, 333, 1e-5, 4, 4, 4, 4, 4, 4, 4, 0))
    put(directory, "deep", shape=LlamaShape(96, 160, 3, 6, 2, 16, 333, 1e-5, 4, 4, 4, 4, 4, 4, 4, 0))
    with pytest.raises(UserError, match="wide does not fit this model"):
        make_bank().acquire("wide")
    with pytest.raises(UserError, match="deep was trained on a model of 3 layers"):
        make_bank().acquire("deep")


# -- sums -------------------------------------------------------------------------------------------------


def test_a_sum_is_made_of_adapters_and_scales_and_has_an_identity_of_its_own(
    make_bank: MakeBank, directory: Path
) -> None:
    bank, store = make_bank(), AdapterStore(directory)
    both = weights(bank, "a:0.5,b:-2")
    parts = [(expected(store, "a"), 0.5), (expected(store, "b"), -2.0)]
    assert np.array_equal(both.tensor, add_packed(SHAPE, "x", 1, parts).tensor)
    assert weights(bank, "a:0.50, b:-2.0") is both
    specs = ("a:0.5,b:-2", "a:0.5,b:-1", "b:-2,a:0.5", "a,b", "a:0.5", "a")
    assert len({(w.name, w.generation) for w in (weights(bank, spec) for spec in specs)}) == len(specs)
    assert len({w.generation for w in (weights(bank, spec) for spec in specs)}) == len(specs)


def test_a_sum_follows_its_parts(make_bank: MakeBank, directory: Path) -> None:
    bank = make_bank()
    before = weights(bank, "a,b")
    put(directory, "b", seed=99)
    after = weights(bank, "a,b")
    assert after.generation != before.generation
    remove(directory, "b")
    with pytest.raises(UserError, match="no adapter 'b'"):
        bank.acquire("a,b")


def test_ranks_that_are_too_many_are_one_sentence(make_bank: MakeBank, directory: Path) -> None:
    for name in ("big", "bigger"):
        put(directory, name, rank=70)
    with pytest.raises(UserError, match=r"big,bigger have the ranks 80 [+] 80 = 160"):
        make_bank().acquire("big,bigger")


# -- threads ----------------------------------------------------------------------------------------------


def test_what_was_prefetched_is_not_loaded_again(make_bank: MakeBank, packings: list[str]) -> None:
    bank = make_bank()
    bank.prefetch(None)
    bank.prefetch("a,b")
    bank.close()
    assert sorted(packings) == ["a", "b"]
    weights(bank, "a,b")
    assert sorted(packings) == ["a", "b"]


def test_a_closed_bank_begins_nothing_and_its_leases_stay_good(make_bank: MakeBank, directory: Path) -> None:
    bank = make_bank()
    with bank.acquire("a") as lease:
        bank.close()
        bank.prefetch("b")
        assert resident(bank) == ["a"]
        assert lease.weights is not None
        assert np.array_equal(
            as_compiled(lease.weights).lora.tensor, expected(AdapterStore(directory), "a").tensor
        )


def test_a_second_request_waits_for_the_load_under_way(
    make_bank: MakeBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, packed = threading.Event(), threading.Event(), []
    pack = CompiledAdapterPacker.pack

    def slow(packer: CompiledAdapterPacker, adapter: AdapterWeights) -> CompiledAdapter:
        packed.append(adapter.name)
        begun.set()
        assert go_on.wait(240)
        return pack(packer, adapter)

    monkeypatch.setattr(CompiledAdapterPacker, "pack", slow)
    bank = make_bank()
    bank.prefetch("a")
    assert begun.wait(240)
    got: list[PackedLora] = []
    threads = [threading.Thread(target=lambda: got.append(weights(bank, "a"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(240)
    assert packed == ["a"]
    assert len(got) == 3
    assert len({id(each) for each in got}) == 1


def test_leases_are_right_under_replacing_removing_and_crowding(
    make_bank: MakeBank, directory: Path, tmp_path: Path
) -> None:
    """Four threads lease at random from a bank with room for two, while a fifth replaces and removes."""
    bank, versions, failures = make_bank(budget=2 * ONE), range(4), []
    for seed in versions:
        put(tmp_path / "versions", str(seed), seed)
    valid = {expected(AdapterStore(tmp_path / "versions"), str(seed)).tensor.tobytes() for seed in versions}
    over = threading.Event()

    def use(seed: int) -> None:
        choose = random.Random(seed)
        try:
            while not over.is_set():
                try:
                    with bank.acquire(choose.choice("abc")) as lease:
                        assert lease.weights is not None
                        first = as_compiled(lease.weights).lora.tensor.tobytes()
                        over.wait(choose.random() / 500)
                        assert first == as_compiled(lease.weights).lora.tensor.tobytes()
                        assert first in valid
                except UserError as error:
                    assert "no adapter" in str(error), error
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    choose = random.Random(7)
    for _ in range(60):
        name = choose.choice("abc")
        if choose.random() < 0.3 and (directory / name).exists():
            remove(directory, name)
        put(directory, name, seed=choose.choice(versions))
    over.set()
    for thread in threads:
        thread.join(240)
    assert failures == []
    assert all(each.leases == 0 for each in bank.residents())
    assert sum(each.size for each in bank.residents()) <= 2 * ONE
