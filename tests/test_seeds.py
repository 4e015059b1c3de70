import numpy as np

from residua import seeds

GOLDEN = [0.607582452223788, 0.06950750942541739]  # what every run so far was made with


def test_a_key_is_the_same_for_ever():
    assert seeds.key(0, "order", 3) == 8682038268397892103
    assert seeds.uniform([0, 1], 0, "flip").tolist() == GOLDEN


def test_numbers_are_uniform_and_each_depends_on_its_own_sample_only():
    u = seeds.uniform(np.arange(100_000), 7, "flip", 0)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.001
    assert np.array_equal(seeds.uniform([17, 4], 7, "flip", 0), u[[17, 4]])


def test_different_words_give_unrelated_numbers():
    a = seeds.uniform(np.arange(10_000), 7, "flip", 0)
    for words in ((8, "flip", 0), (7, "flop", 0), (7, "flip", 1)):
        assert abs(np.corrcoef(a, seeds.uniform(np.arange(10_000), *words))[0, 1]) < 0.05
    assert seeds.key("ab", "c") != seeds.key("a", "bc")
