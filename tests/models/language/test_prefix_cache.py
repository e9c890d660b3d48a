"""The KV cache is continued only where the same adapter computed the same prefix."""

from hypothesis import given
from hypothesis import strategies as st

from models.language.prefix_cache import PrefixCache

BASE, OTHER = ("receipts", 1), ("medical", 1)


def test_a_longer_prompt_continues_where_the_last_one_ended() -> None:
    cache = PrefixCache()
    assert cache.begin([1, 2, 3], None) == 0
    cache.extend([1, 2, 3])
    assert cache.begin([1, 2, 3, 4, 5], None) == 3


def test_the_last_token_is_always_computed_again_because_its_logits_are_wanted() -> None:
    cache = PrefixCache()
    cache.begin([1, 2, 3], None)
    cache.extend([1, 2, 3])
    assert cache.begin([1, 2, 3], None) == 2


def test_nothing_is_continued_under_another_adapter() -> None:
    cache = PrefixCache()
    cache.begin([1, 2, 3], BASE)
    cache.extend([1, 2, 3])
    assert cache.begin([1, 2, 3, 4], OTHER) == 0
    assert len(cache) == 0


def test_nothing_is_continued_under_a_new_generation_of_the_same_adapter() -> None:
    cache = PrefixCache()
    cache.begin([1, 2, 3], BASE)
    cache.extend([1, 2, 3])
    assert cache.begin([1, 2, 3, 4], ("receipts", 2)) == 0


def test_nothing_is_continued_without_an_adapter_after_one() -> None:
    cache = PrefixCache()
    cache.begin([1, 2, 3], BASE)
    cache.extend([1, 2, 3])
    assert cache.begin([1, 2, 3, 4], None) == 0


@given(
    st.lists(
        st.tuples(st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.sampled_from([None, BASE, OTHER]))
    )
)
def test_what_is_continued_was_always_computed_under_the_same_adapter_with_the_same_tokens(
    prompts: list[tuple[list[int], tuple[str, int] | None]],
) -> None:
    cache = PrefixCache()
    computed: list[tuple[int, tuple[str, int] | None]] = []  # what a real KV cache would hold, by position
    for tokens, adapter in prompts:
        kept = cache.begin(tokens, adapter)
        assert kept < len(tokens)
        assert computed[:kept] == [(token, adapter) for token in tokens[:kept]]
        computed = computed[:kept] + [(token, adapter) for token in tokens[kept:]]
        cache.extend(tokens[kept:])
