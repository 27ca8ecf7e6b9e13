"""Licences are read only where their words are public knowledge."""

from __future__ import annotations

import pytest

from dataset_tools.export.licences import describe_terms, hub_licence, licence_url, read_terms

# Words as the sources write them: Openverse and Flickr (SPDX), Wikimedia (short names), url lists (anything).
FREE = [
    "CC0-1.0",
    "CC0",
    "CC-PDM-1.0",
    "Public domain",
    "LicenseRef-public-domain",
    "United States Government Work",
    "No known copyright restrictions",
]


@pytest.mark.parametrize("words", FREE)
def test_public_domain_asks_nothing(words):
    assert describe_terms(read_terms(words)) == "free"


@pytest.mark.parametrize(
    ("words", "changes", "commerce", "alike"),
    [
        ("CC-BY-4.0", True, True, False),
        ("CC BY-SA 3.0", True, True, True),
        ("CC-BY-NC-2.0", True, False, False),
        ("CC-BY-ND-2.0", False, True, False),
        ("CC-BY-NC-ND-4.0", False, False, False),
        ("CC BY-NC-SA 2.0", True, False, True),
        ("CC BY-SA 3.0 de", True, True, True),
    ],
)
def test_creative_commons_letters_are_read(words, changes, commerce, alike):
    terms = read_terms(words)
    assert terms.is_stated and terms.allows_sharing and terms.needs_credit
    assert (terms.allows_changes, terms.allows_commerce, terms.shares_alike) == (changes, commerce, alike)


@pytest.mark.parametrize(
    "words", ["", " ", "unknown", "N/A", "None", "?", "Google rights filter: cc_publicdomain"]
)
def test_no_licence_and_an_unchecked_claim_are_not_stated(words):
    assert not read_terms(words).is_stated
    assert describe_terms(read_terms(words)) == "not known"


@pytest.mark.parametrize(
    "words",
    [
        "All rights reserved",
        "© All Rights Reserved",
        "non-commercial research only",
        "Research use",
        "Copyrighted",
        "CelebA agreement, non-commercial research only",
        "no redistribution",
    ],
)
def test_closed_terms_forbid_to_pass_on(words):
    assert read_terms(words).allows_sharing is False


@pytest.mark.parametrize(
    "words", ["Ask the author", "GFDL 1.2", "No copyright", "CC-BY-XX-4.0", "CC-Sampling", "ccby"]
)
def test_words_of_nobody_knows_what_are_stated_and_not_read(words):
    terms = read_terms(words)
    assert terms.is_stated and terms.allows_sharing is None and terms.allows_changes is None


@pytest.mark.parametrize(
    ("words", "hub", "url"),
    [
        ("CC-BY-SA-4.0", "cc-by-sa-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
        ("CC0", "cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
        ("CC-PDM-1.0", "", "https://creativecommons.org/publicdomain/mark/1.0/"),
        ("CC-BY-ND-2.0", "", "https://creativecommons.org/licenses/by-nd/2.0/"),
        ("MIT", "mit", ""),
        ("Mine", "", ""),
    ],
)
def test_the_hubs_word_and_the_address_of_a_licence(words, hub, url):
    assert (hub_licence(words), licence_url(words)) == (hub, url)
