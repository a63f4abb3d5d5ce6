from docs.rails_page import PAGE, page


def test_the_page_of_rails_is_what_the_registry_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/docs/rails_page.py"
