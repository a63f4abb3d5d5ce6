from docs.settings_page import PAGE, page


def test_the_page_of_settings_is_what_the_settings_are():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/docs/settings_page.py"
