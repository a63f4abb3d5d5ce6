from docs.errors_page import PAGE, page


def test_the_page_of_errors_is_what_the_service_has():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/docs/errors_page.py"
